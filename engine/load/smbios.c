// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * SMBIOS 2.8 (DMTF DSP0134): system, chassis, one processor socket for each vCPU, one array of memory with its device and
 * address range, the end. A structure is a header {type, length, handle}, fixed fields, and its strings, each ended by a zero
 * and the set by one more.
 */
#include "engine/load/smbios.h"

#include <stdio.h>
#include <string.h>

enum smbios_type {
	SMBIOS_SYSTEM = 1,
	SMBIOS_CHASSIS = 3,
	SMBIOS_PROCESSOR = 4,
	SMBIOS_MEMORY_ARRAY = 16,
	SMBIOS_MEMORY_DEVICE = 17,
	SMBIOS_MEMORY_RANGE = 19,
	SMBIOS_BOOT_STATUS = 32,
	SMBIOS_END = 127,
};

#define MAKER "Steelyard"
#define MODEL "Steelyard virtual machine"
#define KIB 1024ull
#define MIB (KIB * KIB)
#define UNKNOWN16 0xfffeu
#define NO_HANDLE 0xffffu

struct writer {
	struct smbios *s;
	uint8_t *p; /* the structure that is open */
	unsigned count, longest;
	uint16_t handle;
};

static void put(uint8_t *p, uint64_t v, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		p[i] = (uint8_t)(v >> 8 * i);
}

static uint8_t *begin(struct writer *w, enum smbios_type type, uint8_t length)
{
	BUG_ON(w->s->len + length + 256u > SMBIOS_MAX_BYTES);
	w->p = w->s->bytes + w->s->len;
	memset(w->p, 0, length);
	w->p[0] = (uint8_t)type;
	w->p[1] = length;
	put(w->p + 2, w->handle++, 2);
	w->s->len += length;
	return w->p;
}

static void text(struct writer *w, const char *s)
{
	size_t n = strlen(s) + 1;

	memcpy(w->s->bytes + w->s->len, s, n);
	w->s->len += (uint32_t)n;
}

static void end(struct writer *w)
{
	uint8_t *from = w->p, *to = w->s->bytes + w->s->len;
	unsigned zeros = to == from + from[1] ? 2 : 1; /* without strings there are two zeros all the same */

	memset(to, 0, zeros);
	w->s->len += zeros;
	if ((unsigned)(to - from) + zeros > w->longest)
		w->longest = (unsigned)(to - from) + zeros;
	w->count++;
}

static void system_and_chassis(struct writer *w)
{
	uint8_t *p = begin(w, SMBIOS_SYSTEM, 27);

	p[4] = 1;
	p[5] = 2;
	p[24] = 6; /* woken by the power switch */
	text(w, MAKER);
	text(w, MODEL);
	end(w);
	p = begin(w, SMBIOS_CHASSIS, 22);
	p[4] = 1;
	p[5] = 1; /* other */
	p[9] = p[10] = p[11] = 3; /* boot, power and thermal state: safe */
	p[12] = 2; /* security: unknown */
	text(w, MAKER);
	end(w);
}

static void processor(struct writer *w, unsigned i)
{
	char socket[16];
	uint8_t *p = begin(w, SMBIOS_PROCESSOR, 42);

	snprintf(socket, sizeof(socket), "CPU %u", i);
	p[4] = 1;
	p[5] = 3;    /* central processor */
	p[6] = 1;    /* family: other */
	p[7] = 2;    /* maker */
	p[24] = 0x41; /* populated, enabled */
	p[25] = 1;   /* upgrade: other */
	put(p + 26, NO_HANDLE, 2);
	put(p + 28, NO_HANDLE, 2);
	put(p + 30, NO_HANDLE, 2);
	p[35] = p[36] = p[37] = 1; /* cores, enabled ones, threads */
	put(p + 38, 4, 2);         /* 64-bit capable */
	text(w, socket);
	text(w, MAKER);
	end(w);
}

static void memory(struct writer *w, uint64_t bytes)
{
	uint16_t array = w->handle;
	uint64_t mib = bytes / MIB;
	uint8_t *p = begin(w, SMBIOS_MEMORY_ARRAY, 23);

	p[4] = 1; /* other location */
	p[5] = 3; /* system memory */
	p[6] = 3; /* no error correction */
	put(p + 7, bytes / KIB < 0x80000000u ? bytes / KIB : 0x80000000u, 4);
	put(p + 11, UNKNOWN16, 2);
	put(p + 13, 1, 2);
	if (bytes / KIB >= 0x80000000u)
		put(p + 15, bytes, 8);
	end(w);
	p = begin(w, SMBIOS_MEMORY_DEVICE, 40);
	put(p + 4, array, 2);
	put(p + 6, UNKNOWN16, 2);
	put(p + 8, 0xffff, 2);
	put(p + 10, 0xffff, 2);
	put(p + 12, mib < 0x7fff ? mib : 0x7fff, 2);
	if (mib >= 0x7fff)
		put(p + 28, mib, 4);
	p[14] = 9; /* form factor: DIMM */
	p[16] = 1;
	p[18] = 7; /* type: RAM */
	p[19] = 2; /* detail: other */
	text(w, "DIMM 0");
	end(w);
	p = begin(w, SMBIOS_MEMORY_RANGE, 31);
	put(p + 12, array, 2);
	p[14] = 1;
	put(p + 4, 0xffffffff, 4); /* the wide fields say it */
	put(p + 8, 0xffffffff, 4);
	put(p + 23, bytes - 1, 8);
	end(w);
}

static uint8_t sum(const uint8_t *p, unsigned n)
{
	uint8_t v = 0;

	while (n--)
		v = (uint8_t)(v + *p++);
	return v;
}

void smbios_build(struct smbios *s, uint64_t memory_bytes, unsigned ncpus, uint32_t at)
{
	struct writer w = {.s = s, .handle = 0x100};
	uint8_t *a = s->anchor;

	*s = (struct smbios){0};
	system_and_chassis(&w);
	for (unsigned i = 0; i < ncpus; i++)
		processor(&w, i);
	memory(&w, memory_bytes);
	begin(&w, SMBIOS_BOOT_STATUS, 11);
	end(&w);
	begin(&w, SMBIOS_END, 4);
	end(&w);

	memcpy(a, "_SM_", 4);
	a[5] = SMBIOS_ANCHOR_BYTES;
	a[6] = 2;
	a[7] = 8;
	put(a + 8, w.longest, 2);
	memcpy(a + 16, "_DMI_", 5);
	put(a + 22, s->len, 2);
	put(a + 24, at, 4);
	put(a + 28, w.count, 2);
	a[30] = 0x28;
	a[21] = (uint8_t)-sum(a + 16, 15);
	a[4] = (uint8_t)-sum(a, SMBIOS_ANCHOR_BYTES);
}
