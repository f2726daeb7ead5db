// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What the macro workloads read, made anew before each run from a fixed sequence: nothing is downloaded, and the same bytes come out on
 * every machine. Integers only.
 *
 *   text     lines of words out of a vocabulary of 4096, the frequent ones frequent, so that it compresses about as prose does
 *   mixed    records of counters, random bytes, repetitions and words
 *   numbers  lines of a word and a number
 *   source   a C program of N functions that call each other; it prints a number
 *   resp     commands for redis, as its clients send them
 */
#include "macro_tool.h"

#include "../workload.h"

/* Of two random numbers the product is more often small: ranks are distributed somewhat like those of words. */
static unsigned word_rank(uint64_t *state)
{
	uint64_t r = wl_random(state);

	return (unsigned)(((r & 0xffff) * (r >> 16 & 0xffff) >> 16) * (r >> 32 & 0xffff) >> 20) & 4095;
}

/* The word of a rank: two to nine letters, syllables of a consonant and a vowel. Returns its length. */
static unsigned word_spell(char *out, unsigned rank)
{
	uint64_t state = rank * 0x9e3779b97f4a7c15ull + 1;
	unsigned n = 0, syllables = 1 + (rank > 16) + (rank > 200) + (wl_random(&state) & 1);

	while (syllables--) {
		uint64_t r = wl_random(&state) >> 20;

		out[n++] = "bcdfghjklmnprstvwz"[r % 18];
		out[n++] = "aeiou"[(r >> 8) % 5];
		if ((r >> 16) % 3 == 0)
			out[n++] = "nrstl"[(r >> 24) % 5];
	}
	out[n] = 0;
	return n;
}

static void write_text(FILE *f, uint64_t bytes)
{
	uint64_t state = 2026, written = 0;
	unsigned column = 0;
	char word[16];

	while (written < bytes) {
		unsigned n = word_spell(word, word_rank(&state));
		bool end = column + n > 70;

		fputs(word, f);
		fputc(end ? '\n' : ' ', f);
		column = end ? 0 : column + n + 1;
		written += n + 1;
	}
	fputc('\n', f);
}

static void write_mixed(FILE *f, uint64_t bytes)
{
	uint64_t state = 31337, written = 0;
	char word[16];

	for (uint32_t record = 0; written < bytes; record++) {
		uint64_t r = wl_random(&state);
		unsigned n = word_spell(word, word_rank(&state)), repeat = (unsigned)(r & 31);

		for (unsigned i = 0; i < 4; i++)
			fputc((int)(record >> (8 * i) & 255), f);
		for (unsigned i = 0; i < 6; i++)
			fputc((int)(r >> (8 + 8 * i) & 255), f);
		for (unsigned i = 0; i < repeat; i++)
			fputc((int)(record & 15), f);
		fwrite(word, 1, n, f);
		written += 10 + repeat + n;
	}
}

static void write_numbers(FILE *f, uint64_t bytes)
{
	uint64_t state = 4711, written = 0;
	char word[16];

	while (written < bytes) {
		int n;

		word_spell(word, word_rank(&state));
		n = fprintf(f, "%s %u\n", word, (unsigned)(wl_random(&state) >> 40) % 1000000);
		if (n < 0)
			return;
		written += (uint64_t)n;
	}
}

static void write_source(FILE *f, uint64_t functions)
{
	uint64_t state = 99;

	fputs("#include <stdio.h>\n#include <string.h>\nstruct item { unsigned key; struct item *next; char name[12]; "
	      "};\n",
	      f);
	for (uint64_t i = 0; i < functions; i++) {
		uint64_t r = wl_random(&state);
		unsigned a = (unsigned)(r & 255) + 1, b = (unsigned)(r >> 8 & 31) + 1, c = (unsigned)(r >> 16 & 0xffff);

		fprintf(f,
			"static unsigned f%llu(unsigned x, unsigned depth)\n{\n\tunsigned v[%u], s = x ^ "
			"%uu;\n\tstruct item it;\n\n"
			"\tfor (unsigned i = 0; i < %u; i++)\n\t\tv[i] = s += i * %uu + (s >> %u);\n"
			"\tmemset(&it, 0, sizeof(it));\n\tit.key = v[x %% %u];\n\tsnprintf(it.name, sizeof(it.name), "
			"\"%%u\", s);\n"
			"\tswitch (it.key & 3) {\n\tcase 0:\n\t\ts += (unsigned)strlen(it.name);\n\t\tbreak;\n"
			"\tcase 1:\n\t\ts ^= v[%u] << %u;\n\t\tbreak;\n\tcase 2:\n\t\ts = s * %uu + (unsigned "
			"char)it.name[1];\n\t\tbreak;\n"
			"\tdefault:\n\t\tfor (struct item *p = &it; p; p = p->next)\n\t\t\ts -= p->key / %uu;\n\t}\n",
			(unsigned long long)i, b, c, b, a, 1 + b % 13, b, (unsigned)(r >> 40) % b, 1 + a % 17, c | 1,
			a);
		if (i)
			fprintf(f, "\treturn depth ? s + f%llu(s, depth - 1) : s;\n}\n",
				(unsigned long long)(wl_random(&state) % i));
		else
			fputs("\treturn s + depth;\n}\n", f);
	}
	fputs("int main(void)\n{\n\tunsigned s = 1;\n\n", f);
	for (uint64_t i = 0; i < functions; i++)
		fprintf(f, "\ts = f%llu(s, 3);\n", (unsigned long long)i);
	fputs("\tprintf(\"%u\\n\", s);\n\treturn 0;\n}\n", f);
}

static void resp(FILE *f, unsigned n, const char *const *words)
{
	fprintf(f, "*%u\r\n", n);
	for (unsigned i = 0; i < n; i++) {
		unsigned length = 0;

		while (words[i][length])
			length++;
		fprintf(f, "$%u\r\n%s\r\n", length, words[i]);
	}
}

static void write_resp(FILE *f, uint64_t commands)
{
	uint64_t state = 6379;

	for (uint64_t i = 0; i < commands; i++) {
		uint64_t r = wl_random(&state);
		char key[32], member[32], value[32];

		snprintf(key, sizeof(key), "k%u", (unsigned)(r & 0xfff));
		snprintf(member, sizeof(member), "m%u", (unsigned)(r >> 12 & 0x3f));
		snprintf(value, sizeof(value), "%u", (unsigned)(r >> 24 & 0xffffff));
		switch (r >> 60 & 7) {
		case 0:
		case 1:
			resp(f, 3, (const char *const[]){"SET", key, value});
			break;
		case 2:
			resp(f, 2, (const char *const[]){"DEL", key});
			break;
		case 3:
			key[0] = 'h';
			resp(f, 4, (const char *const[]){"HSET", key, member, value});
			break;
		case 4:
			key[0] = 'l';
			resp(f, 3, (const char *const[]){"RPUSH", key, value});
			break;
		case 5:
			key[0] = 'z';
			resp(f, 4, (const char *const[]){"ZADD", key, value, member});
			break;
		case 6:
			key[0] = 'c';
			resp(f, 2, (const char *const[]){"INCR", key});
			break;
		default:
			resp(f, 2, (const char *const[]){"GET", key});
		}
	}
}

bool input_write(FILE *f, enum macro_input kind, uint64_t amount)
{
	switch (kind) {
	case INPUT_none:
		break;
	case INPUT_text:
		write_text(f, amount);
		break;
	case INPUT_mixed:
		write_mixed(f, amount);
		break;
	case INPUT_numbers:
		write_numbers(f, amount);
		break;
	case INPUT_source:
		write_source(f, amount);
		break;
	case INPUT_resp:
		write_resp(f, amount);
		break;
	}
	return !fflush(f) && !ferror(f);
}
