/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Splits a program text into names, numbers, strings, comments and operators, and counts them: a switch for each token. */
#include "workload.h"

static const char text[] =
	"/* the sum of what is even */ int sum(const int *v, unsigned n) { int s = 0x10; for (unsigned i = 0; i < n; "
	"i++) if (v[i] % 2 == 0) s += v[i] * 3 - (1 << 4); printf(\"sum %d of %u\\n\", s, n); return s >= 100 ? s : "
	"-s; }\nstruct pair { long first, second; char name[32]; }; static const double pi = 3.14159; /* done */ while "
	"(*p && *p != ';') { q->count[*p++ & 0xff] |= 1u << 7; if (!--left) break; else continue; }\n";

enum token { NAME, NUMBER, STRING, COMMENT, OPERATOR, SPACE, KINDS };

static int is_word(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

static __attribute__((noinline)) const char *next(const char *p, enum token *kind, uint32_t *value)
{
	uint32_t h = 0;

	switch (*p) {
	case ' ':
	case '\n':
		while (*p == ' ' || *p == '\n')
			p++;
		*kind = SPACE;
		return p;
	case '"':
		for (p++; *p != '"'; p++)
			if (*p == '\\')
				p++;
		*kind = STRING;
		return p + 1;
	case '/':
		if (p[1] == '*') {
			for (p += 2; p[0] != '*' || p[1] != '/'; p++)
				h++;
			*value = h;
			*kind = COMMENT;
			return p + 2;
		}
		break;
	case '0' ... '9':
		for (; is_word(*p) || *p == '.'; p++)
			h = h * 10 + (uint32_t)(*p - '0');
		*value = h;
		*kind = NUMBER;
		return p;
	case 'a' ... 'z':
	case 'A' ... 'Z':
	case '_':
		for (; is_word(*p); p++)
			h = h * 31 + (uint8_t)*p;
		*value = h;
		*kind = NAME;
		return p;
	case '<':
	case '>':
	case '=':
	case '!':
	case '+':
	case '-':
	case '&':
	case '|':
		*kind = OPERATOR;
		*value = (uint8_t)*p;
		return p + 1 + (p[1] == '=' || p[1] == p[0]);
	default:
		break;
	}
	*kind = OPERATOR;
	*value = (uint8_t)*p;
	return p + 1;
}

uint64_t wl_lexer(uint64_t scale)
{
	uint64_t sum = 0;

	for (uint64_t rep = 0; rep < 3500 * scale; rep++) {
		uint32_t count[KINDS] = {0}, value = 0, all = (uint32_t)rep;
		enum token kind;

		for (const char *p = text; *p; count[kind]++) {
			p = next(p, &kind, &value);
			all = all * 5 + value;
		}
		for (unsigned k = 0; k < KINDS; k++)
			all = all * 33 + count[k];
		sum = wl_mix(sum, all);
	}
	return sum;
}
