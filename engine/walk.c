// SPDX-License-Identifier: GPL-2.0-or-later
/* The page walk for people: see walk.h. */
#include "engine/walk.h"

#include <inttypes.h>
#include <stdio.h>

#include "engine/cpuid.h"
#include "engine/apic/lapic.h"

static unsigned physical_bits(const struct vcpu *v)
{
	uint32_t out[4];

	cpuid_query(v, 0x80000008u, 0, out);
	return (out[0] & 0xff) < 36 ? 36 : (out[0] & 0xff) > 52 ? 52 : out[0] & 0xff;
}

static struct walk_step *step(const struct vcpu *v, struct walk *w, const char *name, uint64_t table, unsigned index,
			      unsigned bytes, unsigned shift)
{
	struct walk_step *s = &w->step[w->n++];

	*s = (struct walk_step){
		.name = name, .at = table + (uint64_t)index * bytes, .index = index, .maps_bytes = 1ull << shift};
	s->memory = mem_read(&v->vm->mem, s->at, &s->value, bytes);
	if (!s->memory)
		s->value = bytes == 8 ? UINT64_MAX : UINT32_MAX;
	return s;
}

static bool ends(struct walk *w, const char *why)
{
	w->why = why;
	return false;
}

static void leaf(struct walk *w, struct walk_step *s, uint64_t frame, uint64_t bytes)
{
	s->leaf = true;
	w->page_bytes = bytes;
	w->physical = frame + (w->linear & (bytes - 1));
	w->mapped = true;
}

/* PAE and 4-level paging below their roots. */
static bool walk_wide(const struct vcpu *v, struct walk *w, uint64_t table, unsigned level)
{
	static const char *const name[] = {NULL, "PTE", "PDE", "PDPTE", "PML4E"};
	uint64_t address = ((1ull << physical_bits(v)) - 1) & ~0xfffull;

	for (;; level--) {
		unsigned shift = 12 + 9 * (level - 1);
		struct walk_step *s = step(v, w, name[level], table, (unsigned)(w->linear >> shift & 0x1ff), 8, shift);

		if (!s->memory)
			return ends(w, "the table is not in memory");
		if (!(s->value & PTE_P))
			return ends(w, "the entry is not present");
		w->user &= (s->value & PTE_U) != 0;
		w->write &= (s->value & PTE_W) != 0;
		w->execute &= !(s->value & PTE_NX) || !(v->regs.efer & EFER_NXE);
		if (level == 1 || ((s->value & PTE_PS) && level < 4)) {
			leaf(w, s, s->value & address & ~((1ull << shift) - 1), 1ull << shift);
			return true;
		}
		table = s->value & address;
	}
}

static bool walk_32(const struct vcpu *v, struct walk *w)
{
	struct walk_step *s = step(v, w, "PDE", w->cr3 & 0xfffff000u, (unsigned)(w->linear >> 22 & 0x3ff), 4, 22);

	for (unsigned level = 2;; level--) {
		if (!s->memory)
			return ends(w, "the table is not in memory");
		if (!(s->value & PTE_P))
			return ends(w, "the entry is not present");
		w->user &= (s->value & PTE_U) != 0;
		w->write &= (s->value & PTE_W) != 0;
		if (level == 1) {
			leaf(w, s, s->value & 0xfffff000u, 4096);
			return true;
		}
		if ((s->value & PTE_PS) && (v->regs.cr4 & CR4_PSE)) {
			/* PSE-36: bits 20 to 13 are address bits 39 to 32 */
			leaf(w, s, (s->value & 0xffc00000u) | (s->value >> 13 & 0xff) << 32, 4u << 20);
			return true;
		}
		s = step(v, w, "PTE", s->value & 0xfffff000u, (unsigned)(w->linear >> 12 & 0x3ff), 4, 12);
	}
}

static const char *memory_at(const struct vm *vm, const struct vcpu *v, uint64_t gpa)
{
	if (mem_ram(&vm->mem, gpa, 1))
		return "RAM";
	if (mem_rom(&vm->mem, gpa, 1))
		return "ROM";
	if (v->lapic && (gpa & ~0xfffull) == lapic_mmio_gpa(v->lapic))
		return "local APIC";
	for (unsigned i = 0; i < vm->mmio.nranges; i++) {
		const struct bus_range *r = &vm->mmio.range[i];

		if (gpa >= r->base && gpa - r->base < r->len)
			return r->ops->name;
	}
	return "nothing";
}

void walk_page(const struct vcpu *v, uint64_t linear, struct walk *w)
{
	const struct x86_regs *r = &v->regs;
	bool done;

	*w = (struct walk){
		.linear = linear, .cr3 = r->cr3, .user = true, .write = true, .execute = true, .memory = "nothing"};
	if (!(r->efer & EFER_LMA))
		w->linear = (uint32_t)linear;
	if (!(r->cr0 & CR0_PG)) {
		w->mode = "off";
		w->physical = w->linear;
		w->page_bytes = 4096;
		done = w->mapped = true;
	} else if (r->efer & EFER_LMA) {
		w->mode = "4-level";
		done = (uint64_t)((int64_t)(linear << 16) >> 16) == linear
			       ? walk_wide(v, w, r->cr3 & ((1ull << physical_bits(v)) - 1) & ~0xfffull, 4)
			       : ends(w, "the address is not canonical");
	} else if (r->cr4 & CR4_PAE) {
		/* the four PDPTEs are in the processor since CR3 was loaded (SDM 3A 4.4.1) */
		uint64_t pdpte = r->pdpte[w->linear >> 30];
		struct walk_step *s = step(v, w, "PDPTE", r->cr3 & 0xffffffe0u, (unsigned)(w->linear >> 30), 8, 30);

		w->mode = "PAE";
		s->value = pdpte;
		s->memory = true;
		done = pdpte & PTE_P ? walk_wide(v, w, pdpte & ((1ull << physical_bits(v)) - 1) & ~0xfffull, 2)
				     : ends(w, "the entry is not present");
	} else {
		w->mode = "32-bit";
		done = walk_32(v, w);
	}
	if (done)
		w->memory = memory_at(v->vm, v, w->physical);
}

static json_t *hex(uint64_t n)
{
	char text[24];

	snprintf(text, sizeof(text), "0x%" PRIx64, n);
	return json_string(text);
}

/* The flags of an entry that are set, by the manual's names. */
static json_t *flags(const struct walk *w, const struct walk_step *s)
{
	static const struct flag {
		uint64_t bit;
		const char *name;
		bool leaf_only;
	} names[] = {
		{PTE_P, "P", false},     {PTE_W, "R/W", false},   {PTE_U, "U/S", false},
		{PTE_PWT, "PWT", false}, {PTE_PCD, "PCD", false}, {PTE_A, "A", false},
		{PTE_D, "D", true},      {PTE_PS, "PS", false},   {PTE_G, "G", true},
	};
	json_t *a = json_array();

	for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
		/* bit 7 of a PTE is PAT; a PAE PDPTE has no R/W and U/S */
		if (names[i].bit == PTE_PS && s->maps_bytes == 4096)
			continue;
		if ((s->value & names[i].bit) && (s->leaf || !names[i].leaf_only))
			json_array_append_new(a, json_string(names[i].name));
	}
	if (w->mode[0] != '3' && (s->value & PTE_NX))
		json_array_append_new(a, json_string("NX"));
	return a;
}

json_t *walk_json(const struct walk *w, unsigned vcpu)
{
	json_t *o = json_object(), *list = json_array();

	json_object_set_new(o, "vcpu", json_integer((json_int_t)vcpu));
	json_object_set_new(o, "linear", hex(w->linear));
	json_object_set_new(o, "mode", json_string(w->mode));
	json_object_set_new(o, "cr3", hex(w->cr3));
	for (unsigned i = 0; i < w->n; i++) {
		const struct walk_step *s = &w->step[i];
		json_t *e = json_object();

		json_object_set_new(e, "level", json_string(s->name));
		json_object_set_new(e, "at", hex(s->at));
		json_object_set_new(e, "index", json_integer((json_int_t)s->index));
		json_object_set_new(e, "value", hex(s->value));
		json_object_set_new(e, "flags", flags(w, s));
		json_object_set_new(e, "covers_bytes", json_integer((json_int_t)s->maps_bytes));
		json_object_set_new(e, "leaf", json_boolean(s->leaf));
		json_array_append_new(list, e);
	}
	json_object_set_new(o, "entries", list);
	json_object_set_new(o, "mapped", json_boolean(w->mapped));
	if (w->why)
		json_object_set_new(o, "why", json_string(w->why));
	if (w->mapped) {
		json_object_set_new(o, "physical", hex(w->physical));
		json_object_set_new(o, "page_bytes", json_integer((json_int_t)w->page_bytes));
		json_object_set_new(o, "user", json_boolean(w->user));
		json_object_set_new(o, "write", json_boolean(w->write));
		json_object_set_new(o, "execute", json_boolean(w->execute));
		json_object_set_new(o, "memory", json_string(w->memory));
	}
	return o;
}
