/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ELF executables of x86, 32- and 64-bit, loaded at their physical addresses (System V gABI chapter 5).
 *
 * Program headers only; sections do not matter to a loader. Every number is taken as hostile: sums are checked before
 * they are made, and a segment is copied only when all of it is in the file and in RAM.
 */
#include <elf.h>
#undef PF_W /* segment flags here, page-fault bits in engine/x86.h */
#include <string.h>

#include "engine/load/loader.h"
#include "engine/vm.h"

#define ADDRESS_LIMIT (1ull << 32) /* every boot protocol here enters with addresses below 4 GiB */

bool elf_is(const uint8_t *data, uint64_t size)
{
	return size >= SELFMAG && memcmp(data, ELFMAG, SELFMAG) == 0;
}

static enum status bad(const char *name, const char *why, struct error *e)
{
	return error_set(e, ST_BAD_FILE, "'%s' is a damaged ELF file (%s): give another file", name, why);
}

static enum status add_segment(struct elf_image *out, const Elf64_Phdr *p, const char *name, struct error *e)
{
	unsigned i = out->nseg;

	if (p->p_memsz == 0)
		return ST_OK;
	if (p->p_filesz > p->p_memsz || p->p_offset > out->size || p->p_filesz > out->size - p->p_offset)
		return bad(name, "a segment is not within the file", e);
	if (p->p_paddr >= ADDRESS_LIMIT || p->p_memsz > ADDRESS_LIMIT - p->p_paddr)
		return bad(name, "a segment's physical address is above 4 GiB", e);
	if (i == ELF_MAX_SEGMENTS)
		return bad(name, "too many segments", e);
	out->seg[i].paddr = p->p_paddr;
	out->seg[i].vaddr = p->p_vaddr;
	out->seg[i].off = p->p_offset;
	out->seg[i].filesz = p->p_filesz;
	out->seg[i].memsz = p->p_memsz;
	out->nseg++;
	if (p->p_paddr < out->start)
		out->start = p->p_paddr;
	if (p->p_paddr + p->p_memsz > out->end)
		out->end = p->p_paddr + p->p_memsz;
	return ST_OK;
}

static void add_note(struct elf_image *out, const Elf64_Phdr *p)
{
	if (out->nnotes == ELF_MAX_SEGMENTS || p->p_offset > out->size || p->p_filesz > out->size - p->p_offset)
		return;
	out->note[out->nnotes].off = p->p_offset;
	out->note[out->nnotes].len = p->p_filesz;
	out->nnotes++;
}

/* The entry as a physical address: kernels of some builds give a virtual one. */
static uint64_t entry_to_phys(const struct elf_image *img)
{
	for (unsigned i = 0; i < img->nseg; i++)
		if (img->entry >= img->seg[i].paddr && img->entry - img->seg[i].paddr < img->seg[i].memsz)
			return img->entry;
	for (unsigned i = 0; i < img->nseg; i++)
		if (img->entry >= img->seg[i].vaddr && img->entry - img->seg[i].vaddr < img->seg[i].memsz)
			return img->entry - img->seg[i].vaddr + img->seg[i].paddr;
	return UINT64_MAX;
}

static Elf64_Phdr read_phdr(const uint8_t *at, bool elf64)
{
	Elf64_Phdr p;
	Elf32_Phdr q;

	if (elf64) {
		memcpy(&p, at, sizeof(p));
		return p;
	}
	memcpy(&q, at, sizeof(q));
	return (Elf64_Phdr){
		.p_type = q.p_type,
		.p_offset = q.p_offset,
		.p_vaddr = q.p_vaddr,
		.p_paddr = q.p_paddr,
		.p_filesz = q.p_filesz,
		.p_memsz = q.p_memsz,
	};
}

enum status elf_parse(struct elf_image *out, const uint8_t *data, uint64_t size, const char *name, struct error *e)
{
	uint64_t phoff, entsize;
	unsigned phnum, machine, type;

	*out = (struct elf_image){.data = data, .size = size, .start = UINT64_MAX};
	if (!elf_is(data, size) || size < sizeof(Elf32_Ehdr))
		return bad(name, "no ELF header", e);
	out->elf64 = data[EI_CLASS] == ELFCLASS64;
	if ((!out->elf64 && data[EI_CLASS] != ELFCLASS32) || data[EI_DATA] != ELFDATA2LSB)
		return bad(name, "neither 32- nor 64-bit little-endian", e);
	if (out->elf64) {
		Elf64_Ehdr h;

		if (size < sizeof(h))
			return bad(name, "truncated header", e);
		memcpy(&h, data, sizeof(h));
		phoff = h.e_phoff, phnum = h.e_phnum, entsize = h.e_phentsize;
		machine = h.e_machine, type = h.e_type, out->entry = h.e_entry;
	} else {
		Elf32_Ehdr h;

		memcpy(&h, data, sizeof(h));
		phoff = h.e_phoff, phnum = h.e_phnum, entsize = h.e_phentsize;
		machine = h.e_machine, type = h.e_type, out->entry = h.e_entry;
	}
	if (machine != EM_386 && machine != EM_X86_64)
		return error_set(e, ST_BAD_FILE, "'%s' is an ELF file for another processor: give one for x86", name);
	if (type != ET_EXEC && type != ET_DYN)
		return error_set(e, ST_BAD_FILE, "'%s' is an ELF file, but no executable: link it first", name);
	if (entsize < (out->elf64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr)))
		return bad(name, "wrong size of program headers", e);
	if (phoff > size || phnum * entsize > size - phoff)
		return bad(name, "program headers are not within the file", e);

	for (unsigned i = 0; i < phnum; i++) {
		Elf64_Phdr p = read_phdr(data + phoff + i * entsize, out->elf64);
		enum status s = p.p_type == PT_LOAD ? add_segment(out, &p, name, e) : ST_OK;

		if (s != ST_OK)
			return s;
		if (p.p_type == PT_NOTE)
			add_note(out, &p);
	}
	if (out->nseg == 0)
		return bad(name, "nothing to load", e);
	out->entry_phys = entry_to_phys(out);
	return ST_OK;
}

enum status elf_load(struct vm *vm, const struct elf_image *img, const char *name, struct error *e)
{
	for (unsigned i = 0; i < img->nseg; i++) {
		uint64_t paddr = img->seg[i].paddr, memsz = img->seg[i].memsz, filesz = img->seg[i].filesz;
		uint8_t *to = mem_ram(&vm->mem, paddr, memsz);

		if (paddr < LOW_TOP)
			return error_set(e, ST_BAD_FILE,
					 "'%s' wants to be loaded at 0x%llx, below 1 MiB: link it at 1 MiB or above",
					 name, (unsigned long long)paddr);
		if (!to)
			return error_set(e, ST_TOO_BIG,
					 "'%s' needs memory up to %llu MiB, and the guest has %llu: give more --memory",
					 name, (unsigned long long)((paddr + memsz + 0xfffff) >> 20),
					 (unsigned long long)(vm->mem.ram_bytes >> 20));
		memcpy(to, img->data + img->seg[i].off, filesz);
		memset(to + filesz, 0, memsz - filesz);
	}
	return ST_OK;
}
