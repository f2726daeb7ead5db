/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guest-physical memory: RAM in one shared memfd, ROMs, and the holes that belong to devices.
 *
 * RAM below the hole is at its own address; the rest starts at 4 GiB. The hole, from 3 GiB on or where the board wants it, holds
 * PCI, the APICs and the ROM. The host mapping is contiguous: hva = ram_hva + gpa below the hole, and less by the hole's size above
 * it. Behind RAM, from the next multiple of 2 MiB on, are the ROMs: "offset" is the index into all of it.
 *
 * Threads: the map is fixed before the first vCPU starts; contents belong to whoever the guest lets write.
 */
#ifndef STEELYARD_MEM_H
#define STEELYARD_MEM_H

#include "engine/status.h"

#define MEM_HOLE_START (3ull << 30) /* unless mem_set_hole says otherwise */
#define MEM_HOLE_END (4ull << 30)
#define MEM_MIN_BYTES (16ull << 20)
#define MEM_MAX_BYTES (1ull << 40)
#define MEM_MAX_ROMS 8
#define MEM_ROM_ROOM (16ull << 20) /* for all ROMs together */

struct mem_rom {
	uint64_t gpa, len, offset;
	uint8_t *hva;
};

struct mem {
	int memfd;
	uint64_t ram_bytes, hole_start;
	uint8_t *ram_hva;
	struct mem_rom rom[MEM_MAX_ROMS];
	unsigned nroms;
};

/* bytes: a multiple of 4096 between MEM_MIN_BYTES and MEM_MAX_BYTES; more than the host has is ST_NO_MEMORY. */
enum status mem_init(struct mem *m, uint64_t bytes, struct error *e);
void mem_fini(struct mem *m);
/* Where the hole below 4 GiB starts, a multiple of 2 MiB. After mem_init, before anybody asks for an address. */
void mem_set_hole(struct mem *m, uint64_t start);

/* Adds read-only memory: guest writes to it are ignored. data is copied. gpa and len page-aligned. ST_TOO_BIG: more than
 * MEM_MAX_ROMS, or than MEM_ROM_ROOM bytes together. */
enum status mem_add_rom(struct mem *m, uint64_t gpa, const void *data, uint64_t len, struct error *e);

/* RAM offset of a guest-physical address (the index into ram_hva), or UINT64_MAX where there is no RAM. */
static inline uint64_t mem_ram_offset(const struct mem *m, uint64_t gpa)
{
	uint64_t hole = m->hole_start;
	uint64_t off = gpa < hole ? gpa : gpa >= MEM_HOLE_END ? gpa - (MEM_HOLE_END - hole) : UINT64_MAX;
	return off < m->ram_bytes && (gpa < hole || m->ram_bytes > hole) ? off : UINT64_MAX;
}
/* The guest-physical address of an offset in RAM. */
static inline uint64_t mem_ram_gpa(const struct mem *m, uint64_t off)
{
	return off < m->hole_start ? off : off + (MEM_HOLE_END - m->hole_start);
}
/* Host address of [gpa, gpa+len) when all of it is RAM, else NULL. */
static inline void *mem_ram(const struct mem *m, uint64_t gpa, uint64_t len)
{
	uint64_t off = mem_ram_offset(m, gpa);
	if (off == UINT64_MAX || len > m->ram_bytes - off)
		return NULL;
	if (gpa < m->hole_start && len > m->hole_start - gpa)
		return NULL;
	return m->ram_hva + off;
}
/* Offset of the first ROM, and the end of all offsets. */
static inline uint64_t mem_rom_start(const struct mem *m)
{
	return (m->ram_bytes + ((2ull << 20) - 1)) & ~((2ull << 20) - 1);
}
static inline uint64_t mem_span(const struct mem *m)
{
	return mem_rom_start(m) + MEM_ROM_ROOM;
}
/* Offset of a guest-physical address in RAM or, to be read, in a ROM (which hides RAM under it); UINT64_MAX where there is
 * neither. */
uint64_t mem_offset(const struct mem *m, uint64_t gpa);
/* The bank of RAM or the ROM that an offset (not UINT64_MAX) is in: [*lo, *hi) in offsets. In it, guest-physical addresses are
 * contiguous too. */
void mem_bank(const struct mem *m, uint64_t offset, uint64_t *lo, uint64_t *hi);

/* Host address of a ROM byte range for reading, or NULL. */
const void *mem_rom(const struct mem *m, uint64_t gpa, uint64_t len);

/* Copies to or from RAM and ROM (writes to ROM are ignored). false when the range is not memory. */
bool mem_read(const struct mem *m, uint64_t gpa, void *buf, uint64_t len);
bool mem_write(struct mem *m, uint64_t gpa, const void *buf, uint64_t len);

/* Pieces of RAM as the firmware's memory map shows them: i = 0.. ; false past the last. */
bool mem_ram_piece(const struct mem *m, unsigned i, uint64_t *gpa, uint64_t *len);

#endif
