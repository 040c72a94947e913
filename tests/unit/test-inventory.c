/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Two machines compared, in words. */
#include "test-util.h"

#include "inventory.h"
#include "wire.h"

typedef struct Pair {
	LmInventory *source, *destination;
} Pair;

static void pair_clear(Pair *pair)
{
	lm_inventory_free(pair->source);
	lm_inventory_free(pair->destination);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Pair, pair_clear)

static Pair pair_new(void)
{
	const Pair pair = {lm_inventory_new(), lm_inventory_new()};

	return pair;
}

/* @text NULL: the same machine. */
static void check_compare(const Pair *pair, const char *text)
{
	g_autoptr(GError) error = NULL;
	const int ret = lm_inventory_compare(pair->source, pair->destination, &error);

	if (!text) {
		assert_int_equal(ret, 0);
		assert_null(error);
		return;
	}
	assert_non_null(error);
	assert_string_equal(error->message, text);
	check_failure(ret, &error, EINVAL, LM_ERROR_REFUSED, text);
}

static void test_empty(void **state)
{
	g_auto(Pair) pair = pair_new();

	check_compare(&pair, NULL);
	assert_string_equal(pair.source->host_version, "");
	lm_inventory_free(NULL);
}

/* Order and labels do not matter, nor does what is not a trait. */
static void test_same(void **state)
{
	g_auto(Pair) pair = pair_new();

	lm_inventory_add_trait(pair.source, "machine type", "", "q35", NULL);
	lm_inventory_add_trait(pair.source, "device", "1", "e1000e", "a card");
	lm_inventory_add_trait(pair.destination, "device", "1", "e1000e", "another word");
	lm_inventory_add_trait(pair.destination, "machine type", "", "q35", "");
	g_free(pair.source->host_version);
	pair.source->host_version = g_strdup("7.2");
	check_compare(&pair, NULL);
}

static void test_differs(void **state)
{
	g_auto(Pair) pair = pair_new();

	lm_inventory_add_trait(pair.source, "machine type", "", "pc-q35-7.2", NULL);
	lm_inventory_add_trait(pair.destination, "machine type", "", "pc-i440fx-7.2", NULL);
	check_compare(&pair, "machine type differs: source pc-q35-7.2, destination pc-i440fx-7.2");
}

static void test_labels(void **state)
{
	g_auto(Pair) pair = pair_new();

	lm_inventory_add_trait(pair.source, "drive", "a", "8:1 12", "a.img");
	lm_inventory_add_trait(pair.destination, "drive", "a", "8:1 13", "b.img");
	lm_inventory_add_trait(pair.source, "drive", "b", "8:1 14", "c.img");
	lm_inventory_add_trait(pair.destination, "drive", "b", "8:2 14", "c.img");
	check_compare(&pair, "drive a differs: source a.img, destination b.img; drive b differs: "
			     "source c.img (8:1 14), destination c.img (8:2 14)");
}

static void test_one_sided(void **state)
{
	g_auto(Pair) pair = pair_new();

	lm_inventory_add_trait(pair.source, "machine type", "", "q35", NULL);
	lm_inventory_add_trait(pair.destination, "device", "0000:00:03.0", "e1000e", NULL);
	check_compare(&pair, "machine type (q35) is only on the source; "
			     "device 0000:00:03.0 (e1000e) is only on the destination");
}

/* The same kind and key several times: as many of each identity on both sides. */
static void test_repeated(void **state)
{
	g_auto(Pair) pair = pair_new();

	lm_inventory_add_trait(pair.source, "cpu", "", "a", NULL);
	lm_inventory_add_trait(pair.source, "cpu", "", "b", NULL);
	lm_inventory_add_trait(pair.destination, "cpu", "", "b", NULL);
	lm_inventory_add_trait(pair.destination, "cpu", "", "a", NULL);
	check_compare(&pair, NULL);
	lm_inventory_add_trait(pair.source, "cpu", "", "a", NULL);
	check_compare(&pair, "cpu (a) is only on the source");
	lm_inventory_add_trait(pair.destination, "cpu", "", "c", NULL);
	check_compare(&pair, "cpu differs: source a, destination c");
}

static void check_capacities(const char *source, const char *destination, const char *text)
{
	g_auto(Pair) pair = pair_new();

	lm_inventory_add_trait(pair.source, "queue of", "1", source, NULL);
	lm_inventory_add_trait(pair.destination, "queue of", "1", destination, NULL);
	check_compare(&pair, text);
}

/* What is in use must fit, each in its place; how many places there are does not matter. */
static void test_capacities(void **state)
{
	check_capacities("64/1024 8/8", "256/256 8/8", NULL);
	check_capacities("256/1024", "0/256", NULL);
	check_capacities("256/1024 9/9", "0/256", NULL);
	check_capacities("0/0", "18446744073709551615/18446744073709551615", NULL);
	check_capacities("256/1024 257/1024", "0/256 0/256",
			 "queue of 1 (number 1) does not fit: source 257, destination at most 256");
	check_capacities("1/1", "1", "queue of 1 differs: source 1/1, destination 1");
	check_capacities("1/1", "2/2/2", "queue of 1 differs: source 1/1, destination 2/2/2");
	check_capacities("1/1", "", "queue of 1 differs: source 1/1, destination ");
	check_capacities("", "1/1", "queue of 1 differs: source , destination 1/1");
	check_capacities("1/1 x", "2/2 2/2",
			 "queue of 1 differs: source 1/1 x, destination 2/2 2/2");
	check_capacities("1/1", "-2/2", "queue of 1 differs: source 1/1, destination -2/2");
	check_capacities("1/1", "1/18446744073709551616",
			 "queue of 1 differs: source 1/1, destination 1/18446744073709551616");
}

static void test_capacities_of_one_side(void **state)
{
	g_auto(Pair) pair = pair_new();

	lm_inventory_add_trait(pair.source, "queue of", "1", "8/8", NULL);
	lm_inventory_add_trait(pair.destination, "queue of", "2", "8/8 9/9", NULL);
	check_compare(&pair, NULL);
}

/* A kind and a key must not run into each other. */
static void test_kind_and_key(void **state)
{
	g_auto(Pair) pair = pair_new();

	lm_inventory_add_trait(pair.source, "ab", "c", "x", NULL);
	lm_inventory_add_trait(pair.destination, "a", "bc", "x", NULL);
	check_compare(&pair, "ab c (x) is only on the source; a bc (x) is only on the destination");
}

static void test_many(void **state)
{
	g_auto(Pair) pair = pair_new();

	for (guint i = 0; i < 5; i++) {
		g_autofree char *key = g_strdup_printf("%u", i);

		lm_inventory_add_trait(pair.source, "device", key, "x", NULL);
		lm_inventory_add_trait(pair.destination, "device", key, i < 3 ? "y" : "x", NULL);
	}
	check_compare(&pair, "device 0 differs: source x, destination y; "
			     "device 1 differs: source x, destination y; "
			     "device 2 differs: source x, destination y");
	lm_inventory_add_trait(pair.source, "device", "8", "x", NULL);
	lm_inventory_add_trait(pair.destination, "device", "9", "x", NULL);
	check_compare(&pair, "device 0 differs: source x, destination y; "
			     "device 1 differs: source x, destination y; "
			     "device 2 differs: source x, destination y; and 2 more");
}

static void test_one_line(void **state)
{
	g_auto(Pair) pair = pair_new();

	lm_inventory_add_trait(pair.source, "drive", "", "1", "a\nb");
	lm_inventory_add_trait(pair.destination, "drive", "", "2", "c\x1b[2J");
	check_compare(&pair, "drive differs: source a b, destination c [2J");
}

/* What the wire does not take still compares as it did: no two identities become one. */
static void test_too_long(void **state)
{
	g_auto(Pair) pair = pair_new();
	g_autofree char *text = g_strnfill(LM_WIRE_STRING_MAX + 10, 'x');
	const LmTrait *a, *b;

	lm_inventory_add_trait(pair.source, text, text, text, text);
	text[LM_WIRE_STRING_MAX + 9] = 'y';
	lm_inventory_add_trait(pair.destination, text, text, text, text);
	a = g_ptr_array_index(pair.source->traits, 0);
	b = g_ptr_array_index(pair.destination->traits, 0);
	assert_int_equal(strlen(a->kind), LM_WIRE_KIND_MAX);
	assert_int_equal(strlen(a->key), LM_WIRE_KEY_MAX);
	assert_int_equal(strlen(a->identity), LM_WIRE_STRING_MAX);
	assert_int_equal(strlen(a->label), LM_WIRE_STRING_MAX);
	assert_string_not_equal(a->kind, b->kind);
	assert_string_not_equal(a->key, b->key);
	assert_string_not_equal(a->identity, b->identity);
	assert_string_equal(a->label, b->label);
}

static void test_longest(void **state)
{
	g_autoptr(LmInventory) inventory = lm_inventory_new();
	g_autofree char *text = g_strnfill(LM_WIRE_STRING_MAX, 'x');
	const LmTrait *trait;

	lm_inventory_add_trait(inventory, "k", text + LM_WIRE_STRING_MAX - LM_WIRE_KEY_MAX, text,
			       text);
	trait = g_ptr_array_index(inventory->traits, 0);
	assert_string_equal(trait->key, text + LM_WIRE_STRING_MAX - LM_WIRE_KEY_MAX);
	assert_string_equal(trait->identity, text);
	assert_string_equal(trait->label, text);
}

static void test_invalid_text(void **state)
{
	g_autoptr(LmInventory) inventory = lm_inventory_new();
	const LmTrait *a, *b;

	lm_inventory_add_trait(inventory, "k", "", "caf\xe9", "caf\xe9");
	lm_inventory_add_trait(inventory, "k", "", "caf\xe8", "caf\xe8");
	a = g_ptr_array_index(inventory->traits, 0);
	b = g_ptr_array_index(inventory->traits, 1);
	assert_true(g_utf8_validate(a->identity, -1, NULL));
	assert_string_not_equal(a->identity, b->identity);
	assert_string_equal(a->label, "caf\xef\xbf\xbd");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_empty),	 TEST(test_same),
		TEST(test_differs),	 TEST(test_labels),
		TEST(test_one_sided),	 TEST(test_repeated),
		TEST(test_capacities),	 TEST(test_capacities_of_one_side),
		TEST(test_kind_and_key), TEST(test_many),
		TEST(test_one_line),	 TEST(test_too_long),
		TEST(test_longest),	 TEST(test_invalid_text),
	};

	return cmocka_run_group_tests_name("inventory", tests, NULL, NULL);
}
