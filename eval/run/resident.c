// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What a machine's process holds in memory beside its guest's RAM: the sum of Rss over /proc/PID/smaps without the mapping
 * that is the RAM. Ours is a memfd with a name; QEMU's is a mapping of exactly the guest's size.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "eval/suites.h"

bool resident_read(pid_t pid, const char *ram_name, uint64_t ram_bytes, uint64_t *ram_kb, uint64_t *other_kb)
{
	char name[64], line[4096];
	bool is_ram = false;
	FILE *f;

	*ram_kb = *other_kb = 0;
	snprintf(name, sizeof(name), "/proc/%ld/smaps", (long)pid);
	f = fopen(name, "r");
	if (!f)
		return false;
	while (fgets(line, sizeof(line), f)) {
		uint64_t from, to, kb;

		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " ", &from, &to) == 2)
			is_ram = ram_name ? strstr(line, ram_name) != NULL : to - from == ram_bytes;
		else if (sscanf(line, "Rss: %" SCNu64, &kb) == 1)
			*(is_ram ? ram_kb : other_kb) += kb;
	}
	fclose(f);
	return *ram_kb && *other_kb;
}
