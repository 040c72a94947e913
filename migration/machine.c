// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The machine in words: type, processors, and every device that the guest can see.
 *
 * The device state's loader refuses a device that only the source has, but it does not notice one
 * that only the destination has, and it notices after the stop. So both lists are compared first.
 * Internal devices of the machine are left out: which there are is QEMU's business, and differs
 * between versions of it for one and the same machine type.
 */
#include <errno.h>
#include <string.h>

#include "local/error.h"
#include "machine.h"
#include "qemu.h"
#include "query.h"

/* Types whose state is saved by iteration over a running guest, which a handover does not do. */
static const char *const refused_types[] = {
	"vfio-pci", "vfio-pci-base", "vfio-ap", "vfio-ccw", "virtio-mem", NULL,
};

/* Devices on these buses have an address that the guest sees and that all versions agree on. */
static const char *const addressed_types[] = {"pci-device", "scsi-device", "usb-device", NULL};

typedef struct LmVisit {
	LmInventory *inventory;
	char *refused; /* the first device that cannot travel */
	char *cpu_type;
	char *cpu_path;
	guint cpus;
} LmVisit;

static bool is_any_of(Object *object, const char *const *types)
{
	for (; *types; types++)
		if (qemu.object_dynamic_cast(object, *types))
			return true;
	return false;
}

static void note_device(LmVisit *visit, Object *device, const char *path)
{
	const char *type = qemu.object_get_typename(device);
	g_autofree char *address = NULL;

	if (is_any_of(device, addressed_types))
		address = qemu.qdev_get_dev_path(device);
	if (address)
		lm_inventory_add_trait(visit->inventory, "device", address, type, NULL);
	else if (g_str_has_prefix(path, "/machine/peripheral"))
		lm_inventory_add_trait(visit->inventory, "device", path, type, NULL);
}

static int visit_object(Object *object, void *opaque)
{
	LmVisit *visit = opaque;
	g_autofree char *path = NULL;

	if (!qemu.object_dynamic_cast(object, "device"))
		return 0;
	path = qemu.object_get_canonical_path(object);
	if (is_any_of(object, refused_types) && !visit->refused)
		visit->refused = g_strdup_printf("%s (%s)", path, qemu.object_get_typename(object));
	if (qemu.object_dynamic_cast(object, "cpu")) {
		visit->cpus++;
		g_free(visit->cpu_type);
		visit->cpu_type = g_strdup(qemu.object_get_typename(object));
		g_free(visit->cpu_path);
		visit->cpu_path = g_steal_pointer(&path);
	} else {
		note_device(visit, object, path);
		lm_virtio_describe(visit->inventory, object, path);
	}
	return 0;
}

static void add_machine_type(LmInventory *inventory)
{
	g_autofree char *type = g_strdup(qemu.object_get_typename(qemu.qdev_get_machine()));
	char *suffix = g_strrstr(type, "-machine");

	if (suffix)
		*suffix = '\0';
	lm_inventory_add_trait(inventory, "machine type", "", type, NULL);
}

/*
 * From the machine's property "smp" (hw/core/machine-smp.c), whose newer members are left out:
 * an older QEMU does not have them.
 */
static int add_cpus(LmInventory *inventory, guint cpus, GError **errp)
{
	static const char *const levels[] = {"sockets", "dies", "cores", "threads", "maxcpus"};
	QDict *answer = lm_query("{\"execute\": \"qom-get\", \"arguments\":"
				 " {\"path\": \"/machine\", \"property\": \"smp\"}}",
				 errp);
	g_autoptr(GString) text = g_string_new(NULL);
	QDict *smp;

	if (!answer)
		return -EIO;
	smp = qemu.qdict_get_qdict(answer, "return");
	g_string_printf(text, "%u", cpus);
	for (guint i = 0; i < G_N_ELEMENTS(levels); i++)
		g_string_append_printf(text, ", %s %" G_GINT64_FORMAT, levels[i],
				       qemu.qdict_get_try_int(smp, levels[i], 1));
	lm_qobject_free(answer);
	lm_inventory_add_trait(inventory, "number of CPUs", "", text->str, NULL);
	return 0;
}

/* The state of KVM's own devices (kvmclock, the in-kernel APIC) has no meaning under TCG. */
static int add_accelerator(LmInventory *inventory, GError **errp)
{
	QDict *answer = lm_query("{\"execute\": \"query-kvm\"}", errp);
	bool kvm;

	if (!answer)
		return -EIO;
	kvm = qemu.qdict_get_try_bool(qemu.qdict_get_qdict(answer, "return"), "enabled", false);
	lm_qobject_free(answer);
	lm_inventory_add_trait(inventory, "accelerator", "", kvm ? "kvm" : "tcg", NULL);
	return 0;
}

/*
 * Bits that follow from the topology: 7.2 adds them when the guest asks (cpu_x86_cpuid), later
 * versions when the CPU is made, so the property differs and what the guest sees does not.
 */
static gint64 topology_bits(gint64 leaf, const char *reg)
{
	if (leaf == 1 && !strcmp(reg, "EDX"))
		return 1 << 28; /* HTT */
	if (leaf == 0x80000001 && !strcmp(reg, "ECX"))
		return 1 << 1; /* CmpLegacy */
	return 0;
}

static void add_feature_word(LmInventory *inventory, const QDict *word)
{
	gint64 features = qemu.qdict_get_try_int(word, "features", 0);
	gint64 leaf = qemu.qdict_get_try_int(word, "cpuid-input-eax", 0);
	const char *reg = qemu.qdict_get_try_str(word, "cpuid-register");
	g_autofree char *key = NULL, *identity = NULL;

	features &= ~topology_bits(leaf, reg);
	if (!features)
		return;
	key = g_strdup_printf("0x%" G_GINT64_MODIFIER "x.%" G_GINT64_FORMAT " %s", leaf,
			      qemu.qdict_get_try_int(word, "cpuid-input-ecx", 0), reg);
	identity = g_strdup_printf("0x%08" G_GINT64_MODIFIER "x", features);
	lm_inventory_add_trait(inventory, "CPU features", key, identity, NULL);
}

/*
 * What CPUID tells the guest, which "max" and "host" do not say: they are other CPUs in each
 * version. Words without a feature are left out, for an older QEMU may not know them.
 */
static int add_cpu_features(LmInventory *inventory, const char *cpu_path, GError **errp)
{
	g_autofree char *command =
		g_strdup_printf("{\"execute\": \"qom-get\", \"arguments\": {\"path\": \"%s\","
				" \"property\": \"feature-words\"}}",
				cpu_path);
	QDict *answer = lm_query(command, errp), *word;
	QList *words;

	if (!answer)
		return -EIO;
	words = qemu.qdict_get_qlist(answer, "return");
	while ((word = (QDict *)qemu.qlist_pop(words))) {
		add_feature_word(inventory, word);
		lm_qobject_free(word);
	}
	lm_qobject_free(answer);
	return 0;
}

int lm_machine_describe(LmInventory *inventory, GError **errp)
{
	LmVisit visit = {.inventory = inventory};
	g_autofree char *refused = NULL, *cpu_type = NULL, *cpu_path = NULL;
	int rc;

	add_machine_type(inventory);
	qemu.object_child_foreach_recursive(qemu.qdev_get_machine(), visit_object, &visit);
	refused = visit.refused;
	cpu_type = visit.cpu_type;
	cpu_path = visit.cpu_path;
	if (refused)
		return lm_fail(errp, LM_ERROR_REFUSED, ENOTSUP,
			       "the state of device %s cannot be handed over", refused);
	lm_inventory_add_trait(inventory, "CPU model", "", cpu_type ? cpu_type : "none", NULL);
	rc = add_cpus(inventory, visit.cpus, errp);
	if (rc == 0)
		rc = add_accelerator(inventory, errp);
	if (rc == 0 && cpu_path)
		rc = add_cpu_features(inventory, cpu_path, errp);
	return rc;
}
