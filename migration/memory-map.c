// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A device state that is loaded moves each PCI device from nowhere to where the guest has it: its
 * base address registers, the windows of bridges, whether it may write to memory. After each of
 * these QEMU makes all its memory maps anew, one for every device that can do that. With 14
 * devices behind 14 root ports this was 197 of 226 ms in which the VM was stopped.
 *
 * QEMU can put off such changes to the end of a transaction. But a device that is loaded may look
 * into the guest's memory (a virtio queue's rings, a USB controller's lists), through the map as it
 * is then; so it must be right before. Hence:
 *
 *   1. While the VM runs, the source tells the destination those registers of all PCI devices,
 *      and of the chipset those that say where there is RAM below 1 MiB.
 *   2. The destination writes them to its own devices, in one transaction, and reads them back.
 *   3. When the VM is stopped, the source compares: has anything moved since?
 *   4. If not, and if both have the same devices and all registers could be read back, the map is
 *      what it will be, and the whole state is loaded in one transaction.
 *
 * In all other cases it is loaded as ever. So with an IOMMU, whose own state says what a device
 * sees of the memory; and with a chipset that is not one of the two known here.
 *
 * What was written does no harm if it comes to nothing: whatever is loaded sets all of it.
 */
#include "memory-map.h"

#include <string.h>

#include "qemu.h"

typedef struct LmRegister {
	guint8 offset, bytes;
	guint32 mask; /* the bits that count */
} LmRegister;

#define ALL G_MAXUINT32
#define COMMAND                                                                                    \
	{                                                                                          \
		0x04, 2, 0x7                                                                       \
	} /* I/O, memory, bus master; the last, for it puts them in force */
#define END                                                                                        \
	{                                                                                          \
		0, 0, 0                                                                            \
	}

/* include/uapi/linux/pci_regs.h: header type 0. */
static const LmRegister endpoint_registers[] = {{0x10, 4, ALL}, {0x14, 4, ALL}, {0x18, 4, ALL},
						{0x1c, 4, ALL}, {0x20, 4, ALL}, {0x24, 4, ALL},
						{0x30, 4, ALL}, COMMAND,	END};
/* Header type 1; of the bridge control the VGA bits, for another one is a reset. */
static const LmRegister bridge_registers[] = {{0x10, 4, ALL},  {0x14, 4, ALL}, {0x1c, 2, ALL},
					      {0x20, 4, ALL},  {0x24, 4, ALL}, {0x28, 4, ALL},
					      {0x2c, 4, ALL},  {0x30, 4, ALL}, {0x38, 4, ALL},
					      {0x3e, 2, 0x18}, COMMAND,	       END};
/* Intel's data sheets: PAM, what is RAM between 768 KiB and 1 MiB; PCIEXBAR. */
static const LmRegister q35_registers[] = {
	{0x90, 1, ALL}, {0x91, 1, ALL}, {0x92, 1, ALL}, {0x93, 1, ALL}, {0x94, 1, ALL},
	{0x95, 1, ALL}, {0x96, 1, ALL}, {0x64, 4, ALL}, {0x60, 4, ALL}, END};
static const LmRegister i440fx_registers[] = {
	{0x59, 1, ALL}, {0x5a, 1, ALL}, {0x5b, 1, ALL}, {0x5c, 1, ALL},
	{0x5d, 1, ALL}, {0x5e, 1, ALL}, {0x5f, 1, ALL}, END};

typedef void LmWrite(Object *device, guint32 offset, guint32 value, int bytes);

static void write_endpoint(Object *device, guint32 offset, guint32 value, int bytes)
{
	qemu.pci_default_write_config(device, offset, value, bytes);
}

static void write_bridge(Object *device, guint32 offset, guint32 value, int bytes)
{
	qemu.pci_bridge_write_config(device, offset, value, bytes);
}

/* By the device's own function, which knows what the register means. */
static void write_chipset(Object *device, guint32 offset, guint32 value, int bytes)
{
	qemu.pci_host_config_write_common(device, offset, 0x100, value, bytes);
}

static const struct {
	const char *type;
	const LmRegister *registers;
	LmWrite *write;
	gboolean is_chipset;
} kinds[] = {
	{"mch", q35_registers, write_chipset, TRUE},
	{"i440FX", i440fx_registers, write_chipset, TRUE},
	{"base-pci-bridge", bridge_registers, write_bridge, FALSE},
	{"pci-device", endpoint_registers, write_endpoint, FALSE},
};

static const char *const iommus[] = {"x86-iommu", "virtio-iommu-device", "virtio-iommu-pci"};

typedef struct LmPlaced {
	Object *device; /* a reference */
	char *path;	/* "0000:00:01.0/00.0" */
	guint kind;
	GArray *values; /* of guint32, as told */
} LmPlaced;

typedef struct LmMap {
	GPtrArray *devices; /* of LmPlaced */
	gboolean has_chipset, has_iommu;
} LmMap;

static LmMap told;	/* the source's */
static gboolean placed; /* destination: all are where the source has told */
static gboolean held;

static gboolean is_possible(void)
{
	return qemu.pci_default_read_config && qemu.pci_default_write_config &&
	       qemu.pci_bridge_write_config && qemu.pci_host_config_write_common &&
	       qemu.memory_region_transaction_begin && qemu.memory_region_transaction_commit &&
	       qemu.object_ref;
}

static void placed_free(gpointer data)
{
	LmPlaced *device = data;

	qemu.object_unref(device->device);
	g_free(device->path);
	g_array_unref(device->values);
	g_free(device);
}

static void map_clear(LmMap *map)
{
	g_clear_pointer(&map->devices, g_ptr_array_unref);
}

static void read_values(Object *device, guint kind, GArray *values)
{
	for (const LmRegister *r = kinds[kind].registers; r->bytes; r++) {
		guint32 value = qemu.pci_default_read_config(device, r->offset, r->bytes) & r->mask;

		g_array_append_val(values, value);
	}
}

static int visit(Object *object, void *opaque)
{
	LmMap *map = opaque;
	LmPlaced *device;
	guint kind = 0;
	char *path;

	for (guint i = 0; i < G_N_ELEMENTS(iommus); i++)
		map->has_iommu |= qemu.object_dynamic_cast(object, iommus[i]) != NULL;
	while (kind < G_N_ELEMENTS(kinds) && !qemu.object_dynamic_cast(object, kinds[kind].type))
		kind++;
	if (kind == G_N_ELEMENTS(kinds))
		return 0;
	path = qemu.qdev_get_dev_path(object);
	if (!path)
		return 0;
	device = g_new0(LmPlaced, 1);
	device->device = object;
	qemu.object_ref(object);
	device->path = path;
	device->kind = kind;
	device->values = g_array_new(FALSE, FALSE, sizeof(guint32));
	read_values(object, kind, device->values);
	g_ptr_array_add(map->devices, device);
	map->has_chipset |= kinds[kind].is_chipset;
	return 0;
}

static void look(LmMap *map)
{
	map_clear(map);
	*map = (LmMap){.devices = g_ptr_array_new_with_free_func(placed_free)};
	qemu.object_child_foreach_recursive(qemu.qdev_get_machine(), visit, map);
}

/* ------------------------------------------------------------------- source */

#define HINT_TYPE G_VARIANT_TYPE("a(sau)")

static GVariant *values_as_variant(const LmPlaced *device)
{
	return g_variant_new_fixed_array(G_VARIANT_TYPE_UINT32, device->values->data,
					 device->values->len, sizeof(guint32));
}

void lm_memory_map_tell(GByteArray *hint)
{
	g_autoptr(GVariant) variant = NULL;
	GVariantBuilder builder;

	if (!is_possible())
		return;
	look(&told);
	g_variant_builder_init(&builder, HINT_TYPE);
	for (guint i = 0; i < told.devices->len; i++) {
		const LmPlaced *device = g_ptr_array_index(told.devices, i);

		g_variant_builder_add(&builder, "(s@au)", device->path, values_as_variant(device));
	}
	variant = g_variant_ref_sink(g_variant_builder_end(&builder));
	g_byte_array_append(hint, g_variant_get_data(variant), g_variant_get_size(variant));
}

static gboolean has_values(const LmPlaced *device, const GArray *values)
{
	g_autoptr(GArray) now = g_array_new(FALSE, FALSE, sizeof(guint32));

	read_values(device->device, device->kind, now);
	return now->len == values->len &&
	       !memcmp(now->data, values->data, values->len * sizeof(guint32));
}

gboolean lm_memory_map_is_as_told(void)
{
	gboolean same = told.devices != NULL;

	for (guint i = 0; same && i < told.devices->len; i++) {
		const LmPlaced *device = g_ptr_array_index(told.devices, i);

		same = has_values(device, device->values);
	}
	return same;
}

void lm_memory_map_forget(void)
{
	map_clear(&told);
}

/* -------------------------------------------------------------- destination */

static LmPlaced *find(const LmMap *map, const char *path)
{
	for (guint i = 0; i < map->devices->len; i++) {
		LmPlaced *device = g_ptr_array_index(map->devices, i);

		if (!strcmp(device->path, path))
			return device;
	}
	return NULL;
}

/* Off, then everything in its place, then on. */
static void write_values(const LmPlaced *device, const guint32 *values)
{
	const LmRegister *r = kinds[device->kind].registers;
	LmWrite *write = kinds[device->kind].write;

	if (!kinds[device->kind].is_chipset)
		write(device->device, 0x04, 0, 2);
	for (; r->bytes; r++)
		write(device->device, r->offset, *values++ & r->mask, r->bytes);
}

static gboolean place_one(LmPlaced *device, GVariant *values)
{
	gsize length;
	const guint32 *words = g_variant_get_fixed_array(values, &length, sizeof(guint32));

	if (!device || length != device->values->len)
		return FALSE;
	write_values(device, words);
	g_array_set_size(device->values, 0);
	g_array_append_vals(device->values, words, length);
	return TRUE;
}

static gboolean place(const LmMap *map, GVariant *hint)
{
	GVariantIter iter;
	const char *path;
	GVariant *values;
	gsize count = 0;

	g_variant_iter_init(&iter, hint);
	while (g_variant_iter_next(&iter, "(&s@au)", &path, &values)) {
		gboolean done = place_one(find(map, path), values);

		g_variant_unref(values);
		if (!done)
			return FALSE;
		count++;
	}
	return count == map->devices->len;
}

static gboolean can_be_read_back(const LmMap *map)
{
	for (guint i = 0; i < map->devices->len; i++) {
		const LmPlaced *device = g_ptr_array_index(map->devices, i);

		if (!has_values(device, device->values))
			return FALSE;
	}
	return TRUE;
}

void lm_memory_map_place(const guint8 *hint, gsize bytes)
{
	g_autoptr(GBytes) copy = g_bytes_new(hint, bytes); /* GVariant wants it aligned */
	g_autoptr(GVariant) raw = NULL, variant = NULL;
	LmMap map = {0};

	placed = FALSE;
	if (!bytes || !is_possible())
		return;
	raw = g_variant_ref_sink(g_variant_new_from_bytes(HINT_TYPE, copy, FALSE));
	variant = g_variant_get_normal_form(raw);
	look(&map);
	qemu.memory_region_transaction_begin();
	placed = place(&map, variant);
	qemu.memory_region_transaction_commit();
	placed = placed && can_be_read_back(&map) && map.has_chipset && !map.has_iommu;
	map_clear(&map);
}

void lm_memory_map_hold(gboolean as_told)
{
	held = placed && as_told;
	if (held)
		qemu.memory_region_transaction_begin();
}

void lm_memory_map_release(void)
{
	if (held)
		qemu.memory_region_transaction_commit();
	held = placed = FALSE;
}
