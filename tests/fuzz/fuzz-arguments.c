/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The commands' arguments, as a monitor's client sends them: migration/qmp.c and the tables of
 * qapi/gen.py, with a dictionary of our own behind QEMU's functions. An input: which command; then
 * for each argument a byte for its key, a byte for its type, and its value. What is let through
 * must be within the documented ranges.
 */
#include "fuzz.h"

#include <fcntl.h>
#include <stdarg.h>

#include "disks.h"
#include "operation.h"
#include "qapi-localhost-migrate.h"
#include "qmp.h"
#include "query.h"
#include "vhost-user.h"
#include "wire.h"

LmQemu qemu;
LmOptions lm_default_options;

typedef struct Value {
	enum { VALUE_STR, VALUE_INT, VALUE_BOOL, VALUE_NULL, VALUE_LIST, VALUE__MAX } type;
	char *key, *text;
	gint64 number;
	GPtrArray *list; /* of objects, each a GPtrArray of Value, or NULL: something else */
	guint popped;	 /* so many of the list */
} Value;

/* A QDict is a GPtrArray of Value, and one of its entries a pointer into that. */
static const Value *lookup(const QDict *dict, const char *key)
{
	const GPtrArray *values = (const GPtrArray *)dict;

	for (guint i = 0; i < values->len; i++) {
		const Value *value = g_ptr_array_index(values, i);

		if (!strcmp(value->key, key))
			return value;
	}
	return NULL;
}

static int haskey(const QDict *dict, const char *key)
{
	return lookup(dict, key) != NULL;
}

static const char *get_try_str(const QDict *dict, const char *key)
{
	const Value *value = lookup(dict, key);

	return value && value->type == VALUE_STR ? value->text : NULL;
}

static int64_t get_try_int(const QDict *dict, const char *key, int64_t otherwise)
{
	const Value *value = lookup(dict, key);

	return value && value->type == VALUE_INT ? value->number : otherwise;
}

static bool get_try_bool(const QDict *dict, const char *key, bool otherwise)
{
	const Value *value = lookup(dict, key);

	return value && value->type == VALUE_BOOL ? value->number & 1 : otherwise;
}

static QList *get_qlist(const QDict *dict, const char *key)
{
	const Value *value = lookup(dict, key);

	return value && value->type == VALUE_LIST ? (QList *)value : NULL;
}

/* What the commands make themselves is one dictionary, of which only the last object is kept. */
static gpointer made_holds;

static void put_obj(QDict *dict, const char *key, QObject *object)
{
	made_holds = object;
}

static QDict *get_qdict(const QDict *dict, const char *key)
{
	g_assert(dict == (QDict *)&qemu);
	return *(QDict **)made_holds;
}

/* A place in the list, which holds an object or NULL: what is popped stays the list's. */
static QObject *pop(QList *list)
{
	Value *value = (Value *)list;

	return value->popped < value->list->len ? (QObject *)&value->list->pdata[value->popped++]
						: NULL;
}

static const QDictEntry *first(const QDict *dict)
{
	const GPtrArray *values = (const GPtrArray *)dict;

	return values->len ? (const QDictEntry *)&values->pdata[0] : NULL;
}

static const QDictEntry *next(const QDict *dict, const QDictEntry *entry)
{
	const GPtrArray *values = (const GPtrArray *)dict;
	const gpointer *at = (const gpointer *)entry + 1;

	return at < values->pdata + values->len ? (const QDictEntry *)at : NULL;
}

static const char *entry_key(const QDictEntry *entry)
{
	return (*(Value *const *)entry)->key;
}

static G_GNUC_PRINTF(5, 6) void setg(Error **errp, const char *file, int line, const char *function,
				     const char *format, ...)
{
	g_autofree char *text = NULL;
	va_list args;

	va_start(args, format);
	text = g_strdup_vprintf(format, args);
	va_end(args);
	g_assert(text[0] && !*errp);
	*errp = (Error *)errp; /* any pointer */
}

static Monitor *monitor(void)
{
	return NULL;
}

/* A name that begins so is of a descriptor, which is not of the device that it should be of. */
static int get_fd(Monitor *mon, const char *name, Error **errp)
{
	if (*name == 'f')
		return open("/dev/null", O_RDONLY | O_CLOEXEC);
	setg(errp, __FILE__, __LINE__, __func__, "no descriptor %s", name);
	return -1;
}

static GHashTable *handlers;

static void register_command(QmpCommandList *list, const char *name, QmpHandler *handler,
			     int options, uint64_t features)
{
	g_hash_table_insert(handlers, (gpointer)name, handler);
}

/* -------------------------------------------- what the commands would start */

void lm_qobject_free(void *object)
{
}

guint lm_disks_count(void)
{
	return 0;
}

const LmMoveStatus *lm_disks_status(guint i)
{
	g_assert_not_reached();
}

const char *lm_move_state_name(LmMoveState state)
{
	g_assert_not_reached();
}

static void check_disk(const LmDisk *disk)
{
	g_assert(disk->device && *disk->file == '/');
	g_assert(strlen(disk->file) <= LM_WIRE_STRING_MAX && disk->bandwidth <= G_MAXINT64);
	g_assert(!strcmp(disk->format, "qcow2") || !strcmp(disk->format, "raw"));
}

bool lm_outgoing_start(const char *uri, const LmOptions *options, GPtrArray *disks, Error **errp)
{
	g_autofree char *path = lm_uri_parse(uri, NULL);

	g_assert(uri);
	g_assert(!disks || (disks->len && disks->len <= LM_WIRE_DISKS_MAX));
	for (guint i = 0; disks && i < disks->len; i++)
		check_disk(g_ptr_array_index(disks, i));
	g_assert(options->channels <= LM_CHANNELS_MAX);
	g_assert(options->deadline_ms <= LM_DEADLINE_MS_MAX);
	g_assert(options->max_stall_us <= LM_STALL_US_MAX);
	g_assert(options->bandwidth <= G_MAXINT64);
	g_assert(options->ram == LM_WAY_SHARE || options->ram == LM_WAY_FLIP);
	g_assert(!path || (*path && *path != '@' && strlen(path) <= 107));
	return true;
}

bool lm_incoming_start(const char *uri, Error **errp)
{
	g_autofree char *path = lm_uri_parse(uri, NULL);

	g_assert(uri);
	return path != NULL;
}

void lm_operation_cancel(void)
{
}

int lm_vhost_user_lend(int fd, const char *path, GError **errp)
{
	g_assert(fd >= 0 && path);
	g_set_error_literal(errp, LM_ERROR, LM_ERROR_REFUSED, "there is no back end");
	return -1;
}

gboolean lm_operation_report(LmReport *report)
{
	return FALSE;
}

static QDict *new_dict(void)
{
	return (QDict *)&qemu; /* the answer, of which nothing is read */
}

static void put_str(QDict *dict, const char *key, const char *value)
{
}

/* --------------------------------------------------------------------------- */

static void begin(void)
{
	handlers = g_hash_table_new(g_str_hash, g_str_equal);
	qemu.qdict_haskey = haskey;
	qemu.qdict_get_try_str = get_try_str;
	qemu.qdict_get_try_int = get_try_int;
	qemu.qdict_get_try_bool = get_try_bool;
	qemu.qdict_first = first;
	qemu.qdict_next = next;
	qemu.qdict_entry_key = entry_key;
	qemu.qdict_get_qlist = get_qlist;
	qemu.qdict_get_qdict = get_qdict;
	qemu.qdict_put_obj = put_obj;
	qemu.qlist_pop = pop;
	qemu.qdict_new = new_dict;
	qemu.qdict_put_str = put_str;
	qemu.error_setg_internal = setg;
	qemu.qmp_register_command = register_command;
	qemu.monitor_cur = monitor;
	qemu.monitor_get_fd = get_fd;
	lm_qmp_register();
	g_assert(g_hash_table_size(handlers) == lm_qapi_n_commands);
}

static void value_free(gpointer data)
{
	Value *value = data;

	g_clear_pointer(&value->list, g_ptr_array_unref);
	g_free(value->key);
	g_free(value->text);
	g_free(value);
}

static void object_free(gpointer data)
{
	if (data)
		g_ptr_array_unref(data);
}

static char *take_text(Input *input)
{
	const guint8 wanted = input_u8(input);
	const gsize length = MIN(wanted, input->left);

	return g_strndup((const char *)input_bytes(input, length), length);
}

typedef struct Names {
	const LmQapiMember *members;
	gsize count;
} Names;

static GPtrArray *take_object(Input *input, const Names *names, guint depth, guint values);

/* Lists do not nest deeper than the schema's. */
static GPtrArray *take_list(Input *input, guint depth)
{
	const LmQapiStruct *type = &lm_qapi_LocalhostMigrateDisk;
	const Names names = {type->members, type->n_members};
	GPtrArray *list = g_ptr_array_new_with_free_func(object_free);
	const guint objects = input_u8(input) % 80;

	for (guint i = 0; i < objects; i++) {
		const guint values = input_u8(input) % 8;

		g_ptr_array_add(list, values == 7 || depth
					      ? NULL
					      : take_object(input, &names, depth + 1, values));
	}
	return list;
}

static Value *take_value(Input *input, const Names *names, guint depth)
{
	Value *value = g_new0(Value, 1);
	const guint8 key = input_u8(input);

	value->key = key < names->count ? g_strdup(names->members[key].name) : take_text(input);
	value->type = input_u8(input) % VALUE__MAX;
	if (value->type == VALUE_STR)
		value->text = take_text(input);
	else if (value->type == VALUE_LIST)
		value->list = take_list(input, depth);
	else
		for (guint i = 0; i < 8; i++)
			value->number = (gint64)((guint64)value->number << 8 | input_u8(input));
	return value;
}

static GPtrArray *take_object(Input *input, const Names *names, guint depth, guint values)
{
	GPtrArray *object = g_ptr_array_new_with_free_func(value_free);

	while (input->left && values--) {
		Value *value = take_value(input, names, depth);

		if (lookup((QDict *)object, value->key))
			value_free(value);
		else
			g_ptr_array_add(object, value);
	}
	return object;
}

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size)
{
	g_autoptr(GPtrArray) dict = NULL;
	Input input = {data, size};
	const LmQapiCommand *command;
	QmpHandler *handler;
	QObject *ret = NULL;
	Error *error = NULL;

	if (!handlers)
		begin();
	command = &lm_qapi_commands[input_u8(&input) % lm_qapi_n_commands];
	dict = take_object(&input, &(Names){command->args, command->n_args}, 0, G_MAXUINT);
	handler = (QmpHandler *)g_hash_table_lookup(handlers, command->name);
	handler((QDict *)dict, &ret, &error);
	return 0;
}
