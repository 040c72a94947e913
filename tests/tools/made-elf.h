/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An ELF object as it is mapped, with one symbol, dlopen, and a build ID. */
#ifndef LM_TESTS_MADE_ELF_H
#define LM_TESTS_MADE_ELF_H

#include <elf.h>
#include <glib.h>
#include <string.h>

#define MADE_ELF_VALUE 0x1234

typedef struct MadeElf {
	Elf64_Ehdr header;
	Elf64_Phdr segment[3];
	Elf64_Dyn dynamic[4];
	/* Buckets, first symbol, words of the Bloom filter, its shift; the filter; the buckets;
	 * the chain. */
	guint32 hash[4 + 2 + 1 + 1];
	Elf64_Sym symbols[2];
	char strings[16];
	Elf64_Nhdr note;
	char owner[4];
	guint8 id[8];
} MadeElf;

static inline guint64 made_elf_at(const MadeElf *elf, const void *part)
{
	return (const guint8 *)part - (const guint8 *)elf;
}

/* @endless: the chain of symbols has no end, and the symbol is not in it. */
static inline void made_elf(MadeElf *elf, gboolean endless)
{
	guint32 hash = 5381;

	memset(elf, 0, sizeof(*elf));
	for (const char *c = "dlopen"; *c; c++)
		hash = hash * 33 + *c;
	memcpy(elf->header.e_ident, ELFMAG, SELFMAG);
	elf->header.e_ident[EI_CLASS] = ELFCLASS64;
#ifdef __x86_64__
	elf->header.e_machine = EM_X86_64;
#else
	elf->header.e_machine = EM_AARCH64;
#endif
	elf->header.e_phoff = sizeof(elf->header);
	elf->header.e_phentsize = sizeof(elf->segment[0]);
	elf->header.e_phnum = G_N_ELEMENTS(elf->segment);
	elf->hash[0] = elf->hash[1] = elf->hash[2] = elf->hash[6] = 1;
	elf->hash[7] = endless ? 0 : hash | 1;
	elf->symbols[1] = (Elf64_Sym){.st_name = 1, .st_shndx = 1, .st_value = MADE_ELF_VALUE};
	strcpy(elf->strings + 1, "dlopen");
	elf->note = (Elf64_Nhdr){sizeof(elf->owner), sizeof(elf->id), NT_GNU_BUILD_ID};
	strcpy(elf->owner, "GNU");
	memset(elf->id, 0xab, sizeof(elf->id));
	elf->segment[0] = (Elf64_Phdr){.p_type = PT_LOAD, .p_filesz = sizeof(*elf)};
	elf->segment[1] = (Elf64_Phdr){.p_type = PT_DYNAMIC,
				       .p_vaddr = made_elf_at(elf, elf->dynamic),
				       .p_memsz = sizeof(elf->dynamic)};
	elf->segment[2] =
		(Elf64_Phdr){.p_type = PT_NOTE,
			     .p_offset = made_elf_at(elf, &elf->note),
			     .p_vaddr = made_elf_at(elf, &elf->note),
			     .p_filesz = sizeof(elf->note) + sizeof(elf->owner) + sizeof(elf->id)};
	elf->dynamic[0] = (Elf64_Dyn){DT_SYMTAB, {made_elf_at(elf, elf->symbols)}};
	elf->dynamic[1] = (Elf64_Dyn){DT_STRTAB, {made_elf_at(elf, elf->strings)}};
	elf->dynamic[2] = (Elf64_Dyn){DT_GNU_HASH, {made_elf_at(elf, elf->hash)}};
}

#endif
