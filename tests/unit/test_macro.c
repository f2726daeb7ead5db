// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The macro suite: rows that fit together, inputs that are the same on every machine, a checksum that sees every byte, files that are found
 * or missed with a sentence.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "eval/run/macro.h"
#include "tests/unit/check.h"

#include "eval/workloads/macro/inputs.c"
#include "eval/workloads/macro/sum.c"

static bool known_group(const char *name)
{
	for (unsigned i = 0; macro_group_at(i); i++)
		if (!strcmp(macro_group_at(i)->name, name))
			return true;
	return false;
}

/* Is it one line, and do its quotes pair? */
static bool command_sound(const char *c)
{
	unsigned single = 0;

	for (; *c; c++) {
		single += *c == '\'';
		if (*c == '\n' || *c == '\t')
			return false;
	}
	return !(single & 1);
}

static void test_table(void)
{
	static const char *const own[] = {
#define W(name, group, what) #name,
#include "eval/workloads/table.def"
	};
	unsigned n = 0;

	for (; macro_workload_at(n); n++) {
		const struct macro_workload *w = macro_workload_at(n);
		bool scales = strstr(w->command, "$N") || strstr(w->command, "${N}") ||
			      (strcmp(w->input, "none") && !w->input_bytes);

		CHECK(macro_knows(w->name));
		CHECK(strlen(w->name) < 20 &&
		      strspn(w->name, "abcdefghijklmnopqrstuvwxyz0123456789-") == strlen(w->name));
		CHECK(known_group(w->group));
		CHECK(w->packages[0] &&
		      strspn(w->packages, "abcdefghijklmnopqrstuvwxyz0123456789+-. ") == strlen(w->packages));
		CHECK(w->amount >= w->least && w->least > 0);
		CHECK(w->what[0] && command_sound(w->command));
		CHECK(scales);
		CHECK(strcmp(w->input, "none") || !w->input_bytes);
		for (unsigned i = 0; i < n; i++)
			CHECK(strcmp(macro_workload_at(i)->name, w->name));
		for (unsigned i = 0; i < sizeof(own) / sizeof(own[0]); i++)
			CHECK(strcmp(own[i], w->name));
	}
	CHECK(n >= 20 && !macro_knows("sieve") && !macro_knows(""));
	for (unsigned g = 0; macro_group_at(g); g++) {
		unsigned used = 0;

		for (unsigned i = 0; i < n; i++)
			used += !strcmp(macro_workload_at(i)->group, macro_group_at(g)->name);
		CHECK(used > 0);
	}
}

static uint64_t sum_of(const void *data, size_t n)
{
	FILE *f = tmpfile();
	uint64_t sum = 0;

	CHECK(f && fwrite(data, 1, n, f) == n && !fflush(f) && sum_file(fileno(f), &sum));
	if (f)
		fclose(f);
	return sum;
}

/* The definition, a byte at a time. */
static uint64_t sum_slowly(const unsigned char *data, size_t n)
{
	uint64_t s = 0, word = 0;
	size_t i;

	for (i = 0; i < n; i++) {
		word |= (uint64_t)data[i] << (8 * (i & 7));
		if ((i & 7) == 7) {
			s = wl_mix(s, word);
			word = 0;
		}
	}
	if (i & 7)
		s = wl_mix(s, word);
	return wl_mix(s, n);
}

static void test_sum(void)
{
	static const size_t size[] = {0, 1, 7, 8, 9, 63, 4096, 65535, 65536, 65537, 131071, 200003};
	size_t most = size[sizeof(size) / sizeof(size[0]) - 1];
	unsigned char *data = malloc(most);
	uint64_t state = 1;

	CHECK(data);
	for (size_t i = 0; data && i < most; i++)
		data[i] = (unsigned char)(wl_random(&state) >> 24);
	for (unsigned i = 0; data && i < sizeof(size) / sizeof(size[0]); i++) {
		uint64_t sum = sum_of(data, size[i]);

		CHECK(sum == sum_slowly(data, size[i]));
		if (!size[i])
			continue;
		data[size[i] - 1] ^= 1;
		CHECK(sum_of(data, size[i]) != sum);
		data[size[i] - 1] ^= 1;
	}
	CHECK(sum_of("a\0", 2) != sum_of("a", 1)); /* the last word is filled with zeroes */
	free(data);
}

static uint64_t input_sum(enum macro_input kind, uint64_t amount, long *bytes)
{
	FILE *f = tmpfile();
	uint64_t sum = 0;

	CHECK(f && input_write(f, kind, amount) && sum_file(fileno(f), &sum));
	*bytes = f ? ftell(f) : 0;
	if (f)
		fclose(f);
	return sum;
}

static void test_inputs(void)
{
	/* What they were on the first day: results of different days are compared, so they may not change unnoticed. */
	static const struct {
		enum macro_input kind;
		uint64_t amount, sum;
		long least, most;
	} row[] = {
		{INPUT_text, 20000, 0xd70e1d48348c5054, 20000, 20100},
		{INPUT_mixed, 20000, 0xb74faae71b800b3b, 20000, 20100},
		{INPUT_numbers, 20000, 0xc88f7de9da1d2d54, 20000, 20100},
		{INPUT_source, 20, 0xff4ce64068234ff6, 10000, 30000},
		{INPUT_resp, 100, 0xf9aaf0a5385f4036, 2000, 8000},
	};

	for (unsigned i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		long bytes = 0, again = 0, more = 0;
		uint64_t sum = input_sum(row[i].kind, row[i].amount, &bytes);

		if (sum != row[i].sum)
			printf("input %u: %#llx of %ld bytes\n", i, (unsigned long long)sum, bytes);
		CHECK(sum == row[i].sum);
		CHECK(bytes >= row[i].least && bytes <= row[i].most);
		CHECK(input_sum(row[i].kind, row[i].amount, &again) == sum && again == bytes);
		CHECK(input_sum(row[i].kind, 2 * row[i].amount, &more) != sum && more > bytes * 3 / 2 &&
		      more < bytes * 5 / 2);
	}
}

static void make(const char *dir, const char *name, bool folder)
{
	char path[300];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	if (folder) {
		CHECK(!mkdir(path, 0700));
		return;
	}
	f = fopen(path, "w");
	CHECK(f && !fclose(f));
}

static void test_files(void)
{
	char dir[] = "/tmp/steelyard-macro-test.XXXXXX", guest[64], why[300] = "", command[100];
	const char *argv[4] = {NULL};
	struct macro_files f;

	CHECK(mkdtemp(dir));
	snprintf(guest, sizeof(guest), "%s/amd64", dir);
	make(dir, "amd64", true);
	make(dir, "macro", true);
	CHECK(!macro_files_find(guest, &f, why, sizeof(why)) && strstr(why, "make macro-tree"));
	make(dir, "macro/macro", false);
	make(dir, "macro/tree", true);
	make(dir, "macro/initrd", false);
	CHECK(!macro_files_find(guest, &f, why, sizeof(why)) && strstr(why, "MANIFEST"));
	make(dir, "macro/MANIFEST", false);
	CHECK(macro_files_find(guest, &f, why, sizeof(why)));
	CHECK(macro_native_argv(&f, argv) == 3 && argv[0] == f.driver && !strcmp(argv[1], "--tree") &&
	      argv[2] == f.tree && !argv[3]);
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	CHECK(!system(command));
}

int main(void)
{
	test_table();
	test_sum();
	test_inputs();
	test_files();
	printf("%u passed, %u failed\n", passed, failed);
	return failed > 0;
}
