// SPDX-License-Identifier: GPL-2.0-or-later
#include "elf-image.h"
#include "remote.h"

#include <errno.h>
#include <string.h>

#ifdef __x86_64__
#define NATIVE_MACHINE EM_X86_64
#else
#define NATIVE_MACHINE EM_AARCH64
#endif
#define SEGMENTS_MAX 64
#define NOTES_MAX    4096
#define CHAIN_MAX    65536 /* symbols of one hash; a QEMU's longest has some dozens */

gboolean attach_elf_is_native(const Elf64_Ehdr *header, char **what)
{
	if (memcmp(header->e_ident, ELFMAG, SELFMAG))
		*what = g_strdup("no ELF file");
	else if (header->e_ident[EI_CLASS] != ELFCLASS64)
		*what = g_strdup("a 32-bit program");
	else if (header->e_machine != NATIVE_MACHINE)
		*what = g_strdup_printf("built for another machine (ELF machine %d, this is %d)",
					header->e_machine, NATIVE_MACHINE);
	else
		return TRUE;
	return FALSE;
}

/* ------------------------------------------------------------------- notes */

static char *hexadecimal(const guint8 *bytes, gsize count)
{
	GString *text = g_string_new(NULL);

	for (gsize i = 0; i < count; i++)
		g_string_append_printf(text, "%02x", bytes[i]);
	return g_string_free(text, FALSE);
}

static char *find_build_id(const guint8 *notes, gsize bytes)
{
	gsize at = 0;

	while (at + sizeof(Elf64_Nhdr) <= bytes) {
		Elf64_Nhdr note;
		gsize name, description;

		memcpy(&note, notes + at, sizeof(note));
		name = at + sizeof(note);
		description = name + ((gsize)note.n_namesz + 3) / 4 * 4;
		if (description > bytes || note.n_descsz > bytes - description)
			return NULL;
		if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 &&
		    !memcmp(notes + name, "GNU", 4))
			return hexadecimal(notes + description, note.n_descsz);
		at = description + ((gsize)note.n_descsz + 3) / 4 * 4;
	}
	return NULL;
}

/* Program header @index; FALSE if there is none, or a file ends before it. */
static gboolean file_segment(const guint8 *data, gsize bytes, guint index, Elf64_Phdr *segment)
{
	Elf64_Ehdr header;
	gsize at;

	if (bytes < sizeof(header))
		return FALSE;
	memcpy(&header, data, sizeof(header));
	at = header.e_phoff + index * sizeof(*segment);
	if (index >= header.e_phnum || at > bytes || bytes - at < sizeof(*segment))
		return FALSE;
	memcpy(segment, data + at, sizeof(*segment));
	return TRUE;
}

static gboolean segment_is_there(const Elf64_Phdr *segment, gsize bytes)
{
	return segment->p_offset <= bytes && segment->p_filesz <= bytes - segment->p_offset;
}

gboolean attach_elf_file_is_whole(const guint8 *data, gsize bytes)
{
	Elf64_Phdr segment;
	guint i;

	for (i = 0; file_segment(data, bytes, i, &segment); i++)
		if (segment.p_type == PT_LOAD && !segment_is_there(&segment, bytes))
			return FALSE;
	return i > 0;
}

char *attach_elf_file_build_id(const guint8 *data, gsize bytes)
{
	Elf64_Phdr segment;

	for (guint i = 0; file_segment(data, bytes, i, &segment); i++) {
		char *id = NULL;

		if (segment.p_type == PT_NOTE && segment_is_there(&segment, bytes))
			id = find_build_id(data + segment.p_offset, segment.p_filesz);
		if (id)
			return id;
	}
	return NULL;
}

/* -------------------------------------------------------------------- open */

static void read_notes(AttachImage *image, const Elf64_Phdr *segment)
{
	guint8 notes[NOTES_MAX];
	gsize bytes = MIN(segment->p_filesz, sizeof(notes));

	if (!image->build_id &&
	    attach_remote_read(image->pid, image->bias + segment->p_vaddr, notes, bytes, NULL) == 0)
		image->build_id = find_build_id(notes, bytes);
}

/* glibc has added the bias to these in memory, others have not. */
static guint64 absolute(const AttachImage *image, guint64 address)
{
	return address < image->bias ? address + image->bias : address;
}

static int read_dynamic(AttachImage *image, const Elf64_Phdr *segment, GError **errp)
{
	gsize count = MIN(segment->p_memsz, 65536) / sizeof(Elf64_Dyn);
	g_autofree Elf64_Dyn *entries = g_new0(Elf64_Dyn, count + 1);
	int rc = attach_remote_read(image->pid, image->bias + segment->p_vaddr, entries,
				    count * sizeof(*entries), errp);

	for (gsize i = 0; rc == 0 && entries[i].d_tag != DT_NULL; i++) {
		guint64 address = absolute(image, entries[i].d_un.d_ptr);

		if (entries[i].d_tag == DT_SYMTAB)
			image->symbols = address;
		else if (entries[i].d_tag == DT_STRTAB)
			image->strings = address;
		else if (entries[i].d_tag == DT_GNU_HASH)
			image->gnu_hash = address;
	}
	return rc;
}

static int read_segments(AttachImage *image, const Elf64_Phdr *segments, guint count, GError **errp)
{
	int rc = 0;

	for (guint i = 0; i < count && rc == 0; i++) {
		if (segments[i].p_type == PT_NOTE)
			read_notes(image, &segments[i]);
		else if (segments[i].p_type == PT_INTERP)
			image->interpreted = TRUE;
		else if (segments[i].p_type == PT_DYNAMIC)
			rc = read_dynamic(image, &segments[i], errp);
	}
	return rc;
}

int attach_image_open(pid_t pid, guint64 start, AttachImage *image, GError **errp)
{
	Elf64_Phdr segments[SEGMENTS_MAX];
	g_auto(AttachImage) found = {.pid = pid, .bias = start};
	g_autofree char *what = NULL;
	Elf64_Ehdr header;
	int rc = attach_remote_read(pid, start, &header, sizeof(header), errp);

	if (rc < 0)
		return rc;
	if (!attach_elf_is_native(&header, &what))
		return attach_fail(errp, ATTACH_ERROR_ARCHITECTURE, ENOEXEC,
				   "what process %d has mapped at 0x%" G_GINT64_MODIFIER "x is %s",
				   (int)pid, start, what);
	if (header.e_phnum > SEGMENTS_MAX || header.e_phentsize != sizeof(*segments))
		return attach_fail(errp, ATTACH_ERROR_FAILED, ENOEXEC,
				   "an ELF object of process %d has %d program headers", (int)pid,
				   header.e_phnum);
	rc = attach_remote_read(pid, start + header.e_phoff, segments,
				header.e_phnum * sizeof(*segments), errp);
	if (rc < 0)
		return rc;
	for (guint i = 0; i < header.e_phnum; i++)
		if (segments[i].p_type == PT_LOAD && !segments[i].p_offset)
			found.bias = start - segments[i].p_vaddr;
	rc = read_segments(&found, segments, header.e_phnum, errp);
	if (rc < 0)
		return rc;
	*image = found;
	memset(&found, 0, sizeof(found));
	return 0;
}

void attach_image_clear(AttachImage *image)
{
	g_free(image->build_id);
	memset(image, 0, sizeof(*image));
}

/* ------------------------------------------------------------------ symbols */

static guint32 gnu_hash(const char *name)
{
	guint32 hash = 5381;

	for (const char *c = name; *c; c++)
		hash = hash * 33 + (guint8)*c;
	return hash;
}

static gboolean read_word(const AttachImage *image, guint64 address, guint32 *word)
{
	return attach_remote_read(image->pid, address, word, sizeof(*word), NULL) == 0;
}

/* Symbol @index if it is a definition of @name. */
static guint64 match(const AttachImage *image, guint32 index, const char *name)
{
	gsize bytes = strlen(name) + 1;
	g_autofree char *is = g_malloc(bytes);
	Elf64_Sym symbol;

	if (attach_remote_read(image->pid, image->symbols + index * sizeof(symbol), &symbol,
			       sizeof(symbol), NULL) < 0)
		return 0;
	if (symbol.st_shndx == SHN_UNDEF || !symbol.st_value ||
	    ELF64_ST_TYPE(symbol.st_info) == STT_GNU_IFUNC)
		return 0;
	if (attach_remote_read(image->pid, image->strings + symbol.st_name, is, bytes, NULL) < 0 ||
	    memcmp(is, name, bytes))
		return 0;
	return image->bias + symbol.st_value;
}

guint64 attach_image_symbol(const AttachImage *image, const char *name)
{
	guint32 table[4]; /* buckets, first symbol, words of the Bloom filter, its shift */
	guint32 hash = gnu_hash(name), index, entry;
	guint64 buckets, chains;

	if (!image->gnu_hash || !image->symbols || !image->strings ||
	    attach_remote_read(image->pid, image->gnu_hash, table, sizeof(table), NULL) < 0 ||
	    !table[0])
		return 0;
	buckets = image->gnu_hash + sizeof(table) + table[2] * sizeof(guint64);
	chains = buckets + table[0] * sizeof(guint32);
	if (!read_word(image, buckets + hash % table[0] * sizeof(guint32), &index) ||
	    index < table[1])
		return 0;
	/* Memory that is no such table need not have an end of a chain. */
	for (guint i = 0; i < CHAIN_MAX; i++, index++) {
		guint64 address;

		if (!read_word(image, chains + (guint64)(index - table[1]) * 4, &entry))
			return 0;
		address = (entry | 1) == (hash | 1) ? match(image, index, name) : 0;
		if (address || (entry & 1))
			return address;
	}
	return 0;
}
