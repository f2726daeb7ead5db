/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guest RAM is one memfd, mapped shared and contiguous, so that other processes and snapshots can map the same pages.
 * Nothing is reserved or touched in advance: a page costs host memory when the guest first writes it. What the guest
 * has been promised must nevertheless fit into the host, or the host's out-of-memory killer would end the guest later.
 */
#include "engine/mem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#define HUGE_BYTES (2ull << 20)
#define MEM_PAGE 4096ull

static uint64_t host_bytes(void)
{
	struct sysinfo si;

	if (sysinfo(&si) != 0)
		return UINT64_MAX;
	return ((uint64_t)si.totalram + si.totalswap) * si.mem_unit;
}

/* A mapping that begins at a multiple of 2 MiB lets the host use large pages. */
static void *map_aligned(int fd, uint64_t bytes)
{
	uint8_t *area, *at;
	uint64_t span = bytes + HUGE_BYTES;

	area = mmap(NULL, span, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (area == MAP_FAILED)
		return NULL;
	at = (uint8_t *)(((uintptr_t)area + HUGE_BYTES - 1) & ~(uintptr_t)(HUGE_BYTES - 1));
	if (mmap(at, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_NORESERVE, fd, 0) == MAP_FAILED) {
		munmap(area, span);
		return NULL;
	}
	if (at > area)
		munmap(area, (size_t)(at - area));
	if (area + span > at + bytes)
		munmap(at + bytes, (size_t)(area + span - (at + bytes)));
	return at;
}

enum status mem_init(struct mem *m, uint64_t bytes, struct error *e)
{
	uint64_t host = host_bytes(), rom_start = (bytes + HUGE_BYTES - 1) & ~(HUGE_BYTES - 1);
	enum status st;

	*m = (struct mem){.memfd = -1, .hole_start = MEM_HOLE_START};
	if (bytes % MEM_PAGE || bytes < MEM_MIN_BYTES)
		return error_set(e, ST_INVALID, "memory of %llu bytes: give a multiple of 4K, at least %lluM",
				 (unsigned long long)bytes, MEM_MIN_BYTES >> 20);
	if (bytes > MEM_MAX_BYTES || bytes > host)
		return error_set(e, ST_NO_MEMORY, "memory of %lluM is more than this host has (%lluM): give less",
				 (unsigned long long)bytes >> 20, (unsigned long long)host >> 20);
	m->memfd = memfd_create("steelyard-ram", MFD_CLOEXEC);
	if (m->memfd < 0)
		return error_errno(e, ST_NO_MEMORY, "cannot create guest memory");
	if (ftruncate(m->memfd, (off_t)(rom_start + MEM_ROM_ROOM)) != 0) {
		st = error_errno(e, ST_NO_MEMORY, "cannot size guest memory to %lluM", (unsigned long long)bytes >> 20);
		goto fail;
	}
	m->ram_hva = map_aligned(m->memfd, rom_start + MEM_ROM_ROOM);
	if (!m->ram_hva) {
		st = error_errno(e, ST_NO_MEMORY, "cannot map %lluM of guest memory", (unsigned long long)bytes >> 20);
		goto fail;
	}
	m->ram_bytes = bytes;
	(void)madvise(m->ram_hva, bytes, MADV_HUGEPAGE); /* a wish: hosts without shared large pages refuse */
	return ST_OK;
fail:
	close(m->memfd);
	m->memfd = -1;
	return st;
}

void mem_fini(struct mem *m)
{
	if (m->ram_hva)
		munmap(m->ram_hva, mem_span(m));
	if (m->memfd >= 0)
		close(m->memfd);
	*m = (struct mem){.memfd = -1};
}

void mem_set_hole(struct mem *m, uint64_t start)
{
	BUG_ON(start % HUGE_BYTES || start >= MEM_HOLE_END);
	m->hole_start = start;
}

enum status mem_add_rom(struct mem *m, uint64_t gpa, const void *data, uint64_t len, struct error *e)
{
	uint64_t offset = mem_rom_start(m);
	struct mem_rom *r;

	if (len == 0 || gpa % MEM_PAGE || len % MEM_PAGE || gpa + (len - 1) < gpa)
		return error_set(e, ST_INVALID, "a ROM must begin and end at page boundaries");
	for (unsigned i = 0; i < m->nroms; i++) {
		if (gpa < m->rom[i].gpa + m->rom[i].len && m->rom[i].gpa < gpa + len)
			return error_set(e, ST_INVALID, "two ROMs overlap at %#llx", (unsigned long long)gpa);
		offset = m->rom[i].offset + m->rom[i].len;
	}
	if (m->nroms == MEM_MAX_ROMS)
		return error_set(e, ST_TOO_BIG, "more than %d ROMs", MEM_MAX_ROMS);
	if (len > mem_span(m) - offset)
		return error_set(e, ST_TOO_BIG, "ROMs of more than %lluM together", MEM_ROM_ROOM >> 20);
	r = &m->rom[m->nroms++];
	*r = (struct mem_rom){.gpa = gpa, .len = len, .offset = offset, .hva = m->ram_hva + offset};
	memcpy(r->hva, data, len);
	mprotect(r->hva, len, PROT_READ);
	return ST_OK;
}

uint64_t mem_offset(const struct mem *m, uint64_t gpa)
{
	for (unsigned i = 0; i < m->nroms; i++)
		if (gpa >= m->rom[i].gpa && gpa - m->rom[i].gpa < m->rom[i].len)
			return m->rom[i].offset + (gpa - m->rom[i].gpa);
	return mem_ram_offset(m, gpa);
}

void mem_bank(const struct mem *m, uint64_t offset, uint64_t *lo, uint64_t *hi)
{
	for (unsigned i = 0; i < m->nroms; i++)
		if (offset >= m->rom[i].offset && offset - m->rom[i].offset < m->rom[i].len) {
			*lo = m->rom[i].offset;
			*hi = *lo + m->rom[i].len;
			return;
		}
	*lo = offset < m->hole_start ? 0 : m->hole_start;
	*hi = offset < m->hole_start && m->ram_bytes > m->hole_start ? m->hole_start : m->ram_bytes;
}

const void *mem_rom(const struct mem *m, uint64_t gpa, uint64_t len)
{
	for (unsigned i = 0; i < m->nroms; i++) {
		const struct mem_rom *r = &m->rom[i];

		if (gpa >= r->gpa && gpa - r->gpa < r->len && len <= r->len - (gpa - r->gpa))
			return r->hva + (gpa - r->gpa);
	}
	return NULL;
}

/* One piece of [gpa, gpa+*len) that lies in one RAM bank or one ROM; *len is cut to it. */
static uint8_t *piece(const struct mem *m, uint64_t gpa, uint64_t *len, bool *rom)
{
	uint64_t off = mem_ram_offset(m, gpa), room;

	for (unsigned i = 0; i < m->nroms; i++) { /* a ROM hides the RAM under it */
		const struct mem_rom *r = &m->rom[i];

		if (gpa >= r->gpa && gpa - r->gpa < r->len) {
			room = r->len - (gpa - r->gpa);
			*len = *len < room ? *len : room;
			*rom = true;
			return r->hva + (gpa - r->gpa);
		}
		if (gpa<r->gpa && * len> r->gpa - gpa)
			*len = r->gpa - gpa;
	}
	*rom = false;
	if (off == UINT64_MAX)
		return NULL;
	room = gpa < m->hole_start ? m->hole_start - gpa : UINT64_MAX;
	room = room < m->ram_bytes - off ? room : m->ram_bytes - off;
	*len = *len < room ? *len : room;
	return m->ram_hva + off;
}

static bool all_memory(const struct mem *m, uint64_t gpa, uint64_t len)
{
	bool rom;

	if (len && gpa + (len - 1) < gpa)
		return false;
	while (len) {
		uint64_t n = len;

		if (!piece(m, gpa, &n, &rom))
			return false;
		gpa += n;
		len -= n;
	}
	return true;
}

bool mem_read(const struct mem *m, uint64_t gpa, void *buf, uint64_t len)
{
	uint8_t *to = buf;
	bool rom;

	if (!all_memory(m, gpa, len))
		return false;
	while (len) {
		uint64_t n = len;

		memcpy(to, piece(m, gpa, &n, &rom), n);
		to += n;
		gpa += n;
		len -= n;
	}
	return true;
}

bool mem_write(struct mem *m, uint64_t gpa, const void *buf, uint64_t len)
{
	const uint8_t *from = buf;
	bool rom;

	if (!all_memory(m, gpa, len))
		return false;
	while (len) {
		uint64_t n = len;
		uint8_t *to = piece(m, gpa, &n, &rom);

		if (!rom)
			memcpy(to, from, n);
		from += n;
		gpa += n;
		len -= n;
	}
	return true;
}

bool mem_ram_piece(const struct mem *m, unsigned i, uint64_t *gpa, uint64_t *len)
{
	uint64_t low = m->ram_bytes < m->hole_start ? m->ram_bytes : m->hole_start;

	*gpa = i == 0 ? 0 : MEM_HOLE_END;
	*len = i == 0 ? low : m->ram_bytes - low;
	return i < 2 && *len > 0;
}
