// SPDX-License-Identifier: GPL-2.0-or-later
/* The checksum of a workload's result: words of eight bytes, little end first, the last one filled with zeroes, and the length. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "../workload.h"
#include "macro_tool.h"

bool sum_file(int fd, uint64_t *sum)
{
	unsigned char buf[65536];
	uint64_t length = 0, s = 0;
	size_t have = 0;
	ssize_t n;

	if (lseek(fd, 0, SEEK_SET) < 0)
		return false;
	/* A read may give less than a word more: what is left over waits for the next one. */
	while ((n = read(fd, buf + have, sizeof(buf) - have)) != 0) {
		size_t done = 0;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return false;
		have += (size_t)n;
		length += (uint64_t)n;
		for (; done + 8 <= have; done += 8) {
			uint64_t word;

			memcpy(&word, buf + done, 8);
			s = wl_mix(s, word);
		}
		memmove(buf, buf + done, have - done);
		have -= done;
	}
	if (have) {
		uint64_t word = 0;

		memcpy(&word, buf, have);
		s = wl_mix(s, word);
	}
	*sum = wl_mix(s, length);
	return true;
}
