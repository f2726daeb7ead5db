// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * eval/report/results.c: the example folder is read for what it is; cut off anywhere, changed anywhere, compressed or damaged, it is
 * read as far as it makes sense, and the process lives.
 */
#include <lzma.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include "eval/report/bootstrap.h"
#include "eval/report/figures.h"
#include "eval/report/results.h"
#include "eval/results_file.h"
#include "tests/unit/check.h"

#define EXAMPLE "tests/golden/eval/example"

static char text[400];

static unsigned lines_of(const char *data, size_t len)
{
	unsigned n = 0;

	for (size_t i = 0; i < len; i++)
		n += data[i] == '\n';
	return n;
}

static void whole(const char *data, size_t len)
{
	struct results *r = results_parse(data, len, "example", text, sizeof(text));

	CHECK(r != NULL);
	if (!r)
		return;
	CHECK(r->nrecords == lines_of(data, len) && r->bad_lines == 0 && r->complete);
	CHECK(r->npaths == 3 && r->nworkloads == 2 && r->ngroups == 2 && r->nblocks == 3);
	CHECK(results_find_path(r, "bt", 1) == 0 && results_find_path(r, "bt", 2) == -1);
	CHECK(results_find_workload(r, "getpid") == 1 && results_find_workload(r, "none") == -1);
	CHECK(r->path[1].slow && !r->path[0].slow && r->path[2].why && strstr(r->path[2].why, "no first line of init"));
	CHECK(r->first[0] == 0 && r->first[2] == r->nsamples);
	for (unsigned w = 0; w < r->nworkloads; w++)
		for (unsigned i = r->first[w]; i < r->first[w + 1]; i++) {
			CHECK(r->sample[r->by_workload[i]].workload == w);
			CHECK(i == r->first[w] || r->by_workload[i] > r->by_workload[i - 1]);
		}
	CHECK(results_in_group(r, 0, "int") && results_in_group(r, 0, "cpu") && results_in_group(r, 0, "all"));
	CHECK(!results_in_group(r, 1, "cpu") && !results_in_group(r, 1, "int") && results_in_group(r, 1, "os"));
	results_free(r);
}

static void cut(const char *data, size_t len)
{
	for (size_t n = 0; n <= len; n += n < 4000 ? 13 : 211) {
		struct results *r = results_parse(data, n, "cut", text, sizeof(text));
		unsigned complete = lines_of(data, n);

		if (!complete) {
			CHECK(!r && strstr(text, "no run record"));
			continue;
		}
		CHECK(r && r->nrecords == complete && r->bad_lines == (n && data[n - 1] != '\n'));
		if (r && r->bad_lines)
			CHECK(strstr(r->problem[0].text, "torn") && r->problem[0].line == complete + 1);
		results_free(r);
	}
}

/* Bytes changed anywhere; what is still read is computed with. */
static void changed(const char *data, size_t len)
{
	char *copy = malloc(len);
	unsigned read = 0;
	struct rng rng;

	rng_seed(&rng, 4);
	for (unsigned k = 0; copy && k < 300; k++) {
		struct results *r;

		memcpy(copy, data, len);
		for (unsigned i = 0; i <= k % 20; i++)
			copy[rng_below(&rng, (unsigned)len)] =
				(char)(k % 3 ? "0123456789{}[],:\"-\n"[rng_below(&rng, 19)] : (char)rng_next(&rng));
		r = results_parse(copy, len, "changed", text, sizeof(text));
		read += r != NULL;
		if (r && k % 25 == 0) {
			struct figures *f = figures_build(r);
			json_t *j = f ? figures_json(f, r) : NULL;

			CHECK(f && j);
			json_decref(j);
			figures_free(f);
		}
		results_free(r);
	}
	CHECK(read > 100);
	free(copy);
}

/* A block number from elsewhere asks for no memory and no time: its line is named, the others count. */
static void far_block(const char *data, size_t len)
{
	static const char *const types[] = {"\"type\":\"boot\"", "\"type\":\"sample\""}, key[] = "\"block\":";

	for (unsigned i = 0; i < 2; i++) {
		const char *at = memmem(data, len, types[i], strlen(types[i])), *end = data + len;
		struct results *r;
		struct figures *f;
		char *far = NULL;
		size_t n;
		FILE *m = open_memstream(&far, &n);

		at = at ? memmem(at, (size_t)(end - at), key, strlen(key)) : NULL;
		CHECK(m && at);
		if (!m || !at)
			return;
		at += strlen(key);
		fwrite(data, 1, (size_t)(at - data), m);
		fprintf(m, "200000");
		fwrite(at, 1, (size_t)(end - at), m);
		fclose(m);
		r = results_parse(far, n, "far", text, sizeof(text));
		CHECK(r && r->bad_lines == 1 && r->nblocks == 3 && strstr(r->problem[0].text, "\"block\""));
		f = r ? figures_build(r) : NULL;
		CHECK(f);
		figures_free(f);
		results_free(r);
		free(far);
	}
}

static void write_file(const char *name, const void *data, size_t len)
{
	FILE *f = fopen(name, "wb");

	CHECK(f && fwrite(data, 1, len, f) == len);
	if (f)
		fclose(f);
}

static void expect(const char *dir, unsigned records, const char *complaint)
{
	struct results *r = results_load(dir, text, sizeof(text));

	if (records)
		CHECK(r && r->nrecords == records);
	else
		CHECK(!r && strstr(text, complaint));
	if (!records && !r && !strstr(text, complaint))
		printf("     it says: %s\n", text);
	results_free(r);
}

static void compressed(const char *data, size_t len)
{
	char dir[] = "/tmp/eval-results-XXXXXX", zst[64], xz[64], plain[64];
	size_t room = ZSTD_compressBound(len) + 4096, n, out = 0;
	unsigned records = lines_of(data, len);
	uint8_t *buf = malloc(room);

	CHECK(buf && mkdtemp(dir));
	if (!buf)
		return;
	snprintf(zst, sizeof(zst), "%s/results.jsonl.zst", dir);
	snprintf(xz, sizeof(xz), "%s/results.jsonl.xz", dir);
	snprintf(plain, sizeof(plain), "%s/results.jsonl", dir);
	expect(dir, 0, "no results.jsonl");
	expect("/nonexistent/folder", 0, "No such file");
	n = ZSTD_compress(buf, room, data, len, 3);
	write_file(zst, buf, n);
	expect(dir, records, "");
	expect(zst, records, "");
	write_file(zst, buf, n / 2);
	expect(dir, 0, "results.jsonl.zst");
	write_file(zst, "not zstd at all", 15);
	expect(dir, 0, "results.jsonl.zst");
	unlink(zst);
	CHECK(lzma_easy_buffer_encode(1, LZMA_CHECK_CRC32, NULL, (const uint8_t *)data, len, buf, &out, room) ==
	      LZMA_OK);
	write_file(xz, buf, out);
	expect(dir, records, "");
	write_file(xz, buf, out - 20);
	expect(dir, 0, "damaged or ends too early");
	write_file(plain, data, len); /* comes first */
	expect(dir, records, "");
	write_file(plain, "", 0);
	expect(dir, 0, "no run record");
	unlink(plain);
	unlink(xz);
	rmdir(dir);
	free(buf);
}

/* The first line of the example with others behind it. */
static void lines(const char *data, size_t len)
{
	size_t head = (size_t)((const char *)memchr(data, '\n', len) - data) + 1;
	char *all = malloc(head + 4096);
	struct results *r;

	if (!all)
		return;
	memcpy(all, data, head);
	strcpy(all + head, "{\"schema\":2,\"run\":\"another\",\"type\":\"end\",\"seq\":1,\"finished\":\"2026-11-22T19:"
			   "03:00Z\",\"load_after\":1,\"complete\":true}\n"
			   "\n"
			   "{\"schema\":2,\"run\":\"20261122T190000-7\",\"type\":\"end\",\"seq\":1}\n"
			   "[1,2]\n"
			   "{\"schema\":1}\n"
			   "nothing\n");
	r = results_parse(all, strlen(all), "lines", text, sizeof(text));
	CHECK(r && r->nrecords == 1 && r->bad_lines == 5 && r->nproblems == 5 && !r->complete);
	if (r && r->nproblems == 5) {
		CHECK(r->problem[0].line == 2 && strstr(r->problem[0].text, "another run"));
		CHECK(r->problem[4].line == 7 && strstr(r->problem[4].text, "not JSON"));
	}
	results_free(r);
	free(all);
}

int main(void)
{
	char *data;
	size_t len;

	if (!results_file_read(EXAMPLE, &data, &len, text, sizeof(text))) {
		printf("FAIL %s\n0 passed, 1 failed\n", text);
		return 1;
	}
	whole(data, len);
	cut(data, len);
	changed(data, len);
	far_block(data, len);
	lines(data, len);
	compressed(data, len);
	free(data);
	printf("%u passed, %u failed\n", passed, failed);
	return failed > 0;
}
