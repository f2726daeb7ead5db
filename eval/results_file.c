// SPDX-License-Identifier: GPL-2.0-or-later
/* Plain, zstd, xz: told by the name. What comes out of a compressed file is limited: a few bytes can stand for very many. */
#include "eval/results_file.h"

#include <errno.h>
#include <lzma.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <zstd.h>

#define MAX_BYTES (1ull << 30)
#define STEP ((size_t)1 << 20)

struct sink {
	char *data;
	size_t len, room;
	const char *wrong;
};

/* At least STEP bytes of room; false: too much or no memory. */
static bool sink_room(struct sink *s)
{
	size_t room = s->room ? s->room * 2 : STEP;
	char *p;

	if (s->room - s->len >= STEP / 2)
		return true;
	if (s->len >= MAX_BYTES) {
		s->wrong = "more than 1 GiB of results";
		return false;
	}
	p = realloc(s->data, room);
	if (!p) {
		s->wrong = "not enough memory";
		return false;
	}
	s->data = p;
	s->room = room;
	return true;
}

static void read_plain(FILE *f, struct sink *s)
{
	size_t n;

	while (sink_room(s) && (n = fread(s->data + s->len, 1, s->room - s->len, f)) > 0)
		s->len += n;
	if (ferror(f))
		s->wrong = strerror(errno);
}

static void read_zstd(FILE *f, struct sink *s)
{
	ZSTD_DStream *z = ZSTD_createDStream();
	char buf[16384];
	size_t left = 1;
	ZSTD_inBuffer in = {buf, 0, 0};

	if (!z)
		s->wrong = "not enough memory";
	while (z && !s->wrong && sink_room(s)) {
		ZSTD_outBuffer out = {s->data, s->room, s->len};

		if (in.pos == in.size) {
			in.size = fread(buf, 1, sizeof(buf), f);
			in.pos = 0;
			if (!in.size)
				break;
		}
		left = ZSTD_decompressStream(z, &out, &in);
		s->len = out.pos;
		if (ZSTD_isError(left))
			s->wrong = ZSTD_getErrorName(left);
	}
	if (!s->wrong && left)
		s->wrong = "the compressed file ends too early";
	ZSTD_freeDStream(z);
}

static void read_xz(FILE *f, struct sink *s)
{
	lzma_stream z = LZMA_STREAM_INIT;
	uint8_t buf[16384];
	lzma_ret rc = lzma_stream_decoder(&z, 256ull << 20, 0);

	if (rc != LZMA_OK)
		s->wrong = "liblzma cannot start";
	while (rc == LZMA_OK && sink_room(s)) {
		if (!z.avail_in) {
			z.next_in = buf;
			z.avail_in = fread(buf, 1, sizeof(buf), f);
		}
		z.next_out = (uint8_t *)s->data + s->len;
		z.avail_out = s->room - s->len;
		rc = lzma_code(&z, feof(f) || ferror(f) ? LZMA_FINISH : LZMA_RUN);
		s->len = s->room - z.avail_out;
	}
	if (!s->wrong && rc != LZMA_STREAM_END)
		s->wrong = "the compressed file is damaged or ends too early";
	lzma_end(&z);
}

static const struct {
	const char *suffix;
	void (*read)(FILE *f, struct sink *s);
} kinds[] = {{".jsonl", read_plain}, {".zst", read_zstd}, {".xz", read_xz}};

static void (*reader_of(const char *name))(FILE *, struct sink *)
{
	size_t len = strlen(name);

	for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		size_t k = strlen(kinds[i].suffix);

		if (len >= k && !strcmp(name + len - k, kinds[i].suffix))
			return kinds[i].read;
	}
	return read_plain;
}

bool results_file_read(const char *dir, char **data, size_t *len, char *text, unsigned n)
{
	static const char *const names[] = {"results.jsonl", "results.jsonl.zst", "results.jsonl.xz"};
	struct sink s = {0};
	char name[4200];
	struct stat st;
	FILE *f = NULL;

	*data = NULL;
	if (stat(dir, &st)) {
		snprintf(text, n, "%.3000s: %s", dir, strerror(errno));
		return false;
	}
	if (!S_ISDIR(st.st_mode)) {
		snprintf(name, sizeof(name), "%.4000s", dir);
		f = fopen(name, "rb");
	}
	for (unsigned i = 0; S_ISDIR(st.st_mode) && !f && i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(name, sizeof(name), "%.4000s/%s", dir, names[i]);
		f = fopen(name, "rb");
		if (!f && errno != ENOENT)
			break;
	}
	if (!f) {
		snprintf(text, n, "%.3000s: %s%s", dir, errno == ENOENT ? "no results.jsonl in it" : strerror(errno),
			 errno == ENOENT ? "; it is a folder that \"steelyard eval run\" wrote" : "");
		return false;
	}
	reader_of(name)(f, &s);
	fclose(f);
	if (s.wrong) {
		snprintf(text, n, "%.3000s: %s", name, s.wrong);
		free(s.data);
		return false;
	}
	*data = s.data;
	*len = s.len;
	return true;
}
