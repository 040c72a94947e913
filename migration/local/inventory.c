/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "inventory.h"

#include <errno.h>
#include <string.h>

#include "error.h"
#include "wire.h"

#define SUM_HEX_LENGTH	  64
#define DIFFERENCES_NAMED 3

static void trait_free(gpointer data)
{
	LmTrait *trait = data;

	g_free(trait->kind);
	g_free(trait->key);
	g_free(trait->identity);
	g_free(trait->label);
	g_free(trait);
}

LmDisk *lm_disk_new(const char *device, const char *file, const char *format, const char *node,
		    guint64 bandwidth)
{
	LmDisk *disk = g_new0(LmDisk, 1);

	disk->device = g_strdup(device);
	disk->file = g_strdup(file);
	disk->format = g_strdup(format);
	disk->node = g_strdup(node);
	disk->bandwidth = bandwidth;
	return disk;
}

void lm_disk_free(LmDisk *disk)
{
	g_free(disk->device);
	g_free(disk->file);
	g_free(disk->format);
	g_free(disk->node);
	g_free(disk);
}

static void disk_free(gpointer data)
{
	lm_disk_free(data);
}

GPtrArray *lm_disks_new(void)
{
	return g_ptr_array_new_with_free_func(disk_free);
}

static void region_free(gpointer data)
{
	lm_region_free(data);
}

LmInventory *lm_inventory_new(void)
{
	LmInventory *inventory = g_new0(LmInventory, 1);

	inventory->host_version = g_strdup("");
	inventory->traits = g_ptr_array_new_with_free_func(trait_free);
	inventory->regions = g_ptr_array_new_with_free_func(region_free);
	inventory->disks = lm_disks_new();
	return inventory;
}

void lm_inventory_free(LmInventory *inventory)
{
	if (!inventory)
		return;
	g_free(inventory->host_version);
	g_ptr_array_unref(inventory->traits);
	g_ptr_array_unref(inventory->regions);
	g_ptr_array_unref(inventory->disks);
	g_free(inventory);
}

/* Where to cut @text so that at most @max_bytes and no half character are left. */
static gsize cut_bytes(const char *text, gsize max_bytes)
{
	return strlen(text) <= max_bytes
		       ? strlen(text)
		       : (gsize)(g_utf8_find_prev_char(text, text + max_bytes + 1) - text);
}

/* A copy that the wire takes: valid UTF-8 of at most @max_bytes. */
static char *fit_label(const char *text, gsize max_bytes)
{
	g_autofree char *valid = g_utf8_make_valid(text, -1);

	return g_strndup(valid, cut_bytes(valid, max_bytes));
}

/*
 * The same for what is compared. A text that has to change ends in the SHA-256 of the original,
 * so that two texts are the same afterwards exactly if they were before.
 */
static char *fit(const char *text, gsize max_bytes)
{
	g_autofree char *sum = NULL;
	g_autofree char *head = NULL;

	if (strlen(text) <= max_bytes && g_utf8_validate(text, -1, NULL))
		return g_strdup(text);
	sum = g_compute_checksum_for_string(G_CHECKSUM_SHA256, text, -1);
	head = fit_label(text, max_bytes - SUM_HEX_LENGTH);
	return g_strconcat(head, sum, NULL);
}

void lm_inventory_add_trait(LmInventory *inventory, const char *kind, const char *key,
			    const char *identity, const char *label)
{
	LmTrait *trait = g_new0(LmTrait, 1);

	trait->kind = fit(kind, LM_WIRE_KIND_MAX);
	trait->key = fit(key, LM_WIRE_KEY_MAX);
	trait->identity = fit(identity, LM_WIRE_STRING_MAX);
	trait->label = fit_label(label ? label : "", LM_WIRE_STRING_MAX);
	g_ptr_array_add(inventory->traits, trait);
}

/* ---------------------------------------------------------------- compare */

static const char *shown(const LmTrait *trait)
{
	return trait->label[0] ? trait->label : trait->identity;
}

/* "device 0000:00:03.0", or "machine type" where there is one of its kind. */
static char *named(const LmTrait *trait)
{
	return trait->key[0] ? g_strdup_printf("%s %s", trait->kind, trait->key)
			     : g_strdup(trait->kind);
}

/* "256/1024": a number in use, and the most there can be. */
static gboolean parse_capacity(const char *text, guint64 *used, guint64 *most)
{
	g_auto(GStrv) parts = g_strsplit(text, "/", 3);

	return g_strv_length(parts) == 2 &&
	       g_ascii_string_to_unsigned(parts[0], 10, 0, G_MAXUINT64, used, NULL) &&
	       g_ascii_string_to_unsigned(parts[1], 10, 0, G_MAXUINT64, most, NULL);
}

static gboolean is_capacities(const LmTrait *trait)
{
	g_auto(GStrv) parts = g_strsplit(trait->identity, " ", -1);
	guint64 used, most;

	for (guint i = 0; parts[i]; i++)
		if (!parse_capacity(parts[i], &used, &most))
			return FALSE;
	return parts[0] != NULL;
}

/* The first of the source's capacities that the destination's have no room for; NULL: none. */
static char *excess(const LmTrait *source, const LmTrait *destination)
{
	g_auto(GStrv) here = g_strsplit(source->identity, " ", -1);
	g_auto(GStrv) there = g_strsplit(destination->identity, " ", -1);

	for (guint i = 0; here[i] && there[i]; i++) {
		guint64 used = 0, most = 0, other;

		parse_capacity(here[i], &used, &other);
		parse_capacity(there[i], &other, &most);
		if (used > most)
			return g_strdup_printf(
				"%s %s (number %u) does not fit: source %" G_GUINT64_FORMAT
				", destination at most %" G_GUINT64_FORMAT,
				source->kind, source->key, i, used, most);
	}
	return NULL;
}

/* Of two with other identities; the caller's. NULL: capacities that fit. */
static char *difference(const LmTrait *source, const LmTrait *destination)
{
	g_autofree char *name = NULL;

	if (is_capacities(source) && is_capacities(destination))
		return excess(source, destination);
	name = named(source);
	if (strcmp(shown(source), shown(destination)) != 0) {
		return g_strdup_printf("%s differs: source %s, destination %s", name, shown(source),
				       shown(destination));
	}
	/* The same words for two things: only the identities tell them apart. */
	return g_strdup_printf("%s differs: source %s (%s), destination %s (%s)", name,
			       shown(source), source->identity, shown(destination),
			       destination->identity);
}

static char *one_sided(const LmTrait *trait, const char *side)
{
	g_autofree char *name = named(trait);

	return g_strdup_printf("%s (%s) is only on the %s", name, shown(trait), side);
}

static guint trait_hash(gconstpointer data)
{
	const LmTrait *trait = data;

	return g_str_hash(trait->kind) * 31 + g_str_hash(trait->key);
}

static gboolean trait_equal(gconstpointer a, gconstpointer b)
{
	const LmTrait *x = a, *y = b;

	return strcmp(x->kind, y->kind) == 0 && strcmp(x->key, y->key) == 0;
}

static void candidates_free(gpointer data)
{
	g_ptr_array_unref(data);
}

/* From a trait to all those of the same kind and key, in their order. */
static GHashTable *index_traits(GPtrArray *traits)
{
	GHashTable *index = g_hash_table_new_full(trait_hash, trait_equal, NULL, candidates_free);

	for (guint i = 0; i < traits->len; i++) {
		LmTrait *trait = g_ptr_array_index(traits, i);
		GPtrArray *candidates = g_hash_table_lookup(index, trait);

		if (!candidates) {
			candidates = g_ptr_array_new();
			g_hash_table_insert(index, trait, candidates);
		}
		g_ptr_array_add(candidates, trait);
	}
	return index;
}

/* Takes @trait's counterpart out of @index: the one with the same identity, else the first. */
static LmTrait *take_counterpart(GHashTable *index, const LmTrait *trait)
{
	GPtrArray *candidates = g_hash_table_lookup(index, trait);

	if (!candidates || candidates->len == 0)
		return NULL;
	for (guint i = 0; i < candidates->len; i++) {
		const LmTrait *other = g_ptr_array_index(candidates, i);

		if (strcmp(other->identity, trait->identity) == 0)
			return g_ptr_array_steal_index(candidates, i);
	}
	return g_ptr_array_steal_index(candidates, 0);
}

static GPtrArray *find_differences(GPtrArray *source, GPtrArray *destination)
{
	g_autoptr(GHashTable) index = index_traits(destination);
	g_autoptr(GHashTable) matched = g_hash_table_new(NULL, NULL);
	GPtrArray *differences = g_ptr_array_new_with_free_func(g_free);

	for (guint i = 0; i < source->len; i++) {
		const LmTrait *trait = g_ptr_array_index(source, i);
		LmTrait *other = take_counterpart(index, trait);
		char *text;

		if (!other) {
			if (!is_capacities(trait))
				g_ptr_array_add(differences, one_sided(trait, "source"));
			continue;
		}
		g_hash_table_add(matched, other);
		text = strcmp(trait->identity, other->identity) ? difference(trait, other) : NULL;
		if (text)
			g_ptr_array_add(differences, text);
	}
	for (guint i = 0; i < destination->len; i++) {
		LmTrait *trait = g_ptr_array_index(destination, i);

		if (!g_hash_table_contains(matched, trait) && !is_capacities(trait))
			g_ptr_array_add(differences, one_sided(trait, "destination"));
	}
	return differences;
}

int lm_inventory_compare(const LmInventory *source, const LmInventory *destination, GError **errp)
{
	g_autoptr(GPtrArray) differences = find_differences(source->traits, destination->traits);
	g_autoptr(GString) text = g_string_new(NULL);

	if (differences->len == 0)
		return 0;
	for (guint i = 0; i < MIN(differences->len, DIFFERENCES_NAMED); i++) {
		g_string_append_printf(text, "%s%s", i ? "; " : "",
				       (char *)g_ptr_array_index(differences, i));
	}
	if (differences->len > DIFFERENCES_NAMED) {
		g_string_append_printf(text, "; and %u more", differences->len - DIFFERENCES_NAMED);
	}
	return lm_fail(errp, LM_ERROR_REFUSED, EINVAL, "%s", text->str);
}
