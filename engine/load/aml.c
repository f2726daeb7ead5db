/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Emits ACPI Machine Language (ACPI 6.4 chapter 20; resource descriptors 6.4.2). */
#include "engine/load/aml.h"

#include "engine/status.h"

enum {
	OP_ZERO = 0x00,
	OP_ONE = 0x01,
	OP_NAME = 0x08,
	OP_BYTE = 0x0a,
	OP_WORD = 0x0b,
	OP_DWORD = 0x0c,
	OP_SCOPE = 0x10,
	OP_BUFFER = 0x11,
	OP_PACKAGE = 0x12,
	OP_METHOD = 0x14,
	OP_EXT = 0x5b,
	OP_ARG0 = 0x68,
	OP_STORE = 0x70,
	OP_IF = 0xa0,
	OP_RETURN = 0xa4,
	OP_EXT_DEVICE = 0x82,
};

void aml_init(struct aml *a, uint8_t *buf, uint32_t bytes)
{
	a->p = a->start = buf;
	a->end = buf + bytes;
	a->overflow = false;
}

uint32_t aml_length(const struct aml *a)
{
	return (uint32_t)(a->p - a->start);
}

static void byte(struct aml *a, uint8_t b)
{
	if (a->p == a->end)
		a->overflow = true;
	else
		*a->p++ = b;
}

static void segment(struct aml *a, const char name[4])
{
	for (unsigned i = 0; i < 4; i++)
		byte(a, (uint8_t)name[i]);
}

/* PkgLength is always written in its three-byte form (20.2.4): up to 1 MiB, and its place is known before its value. */
static struct aml_pkg open_pkg(struct aml *a)
{
	struct aml_pkg k = {a->p};

	for (unsigned i = 0; i < 3; i++)
		byte(a, 0);
	return k;
}

void aml_close(struct aml *a, struct aml_pkg k)
{
	uint32_t len = (uint32_t)(a->p - k.len_at);

	if (a->overflow)
		return;
	k.len_at[0] = (uint8_t)(2u << 6 | (len & 0xf));
	k.len_at[1] = (uint8_t)(len >> 4);
	k.len_at[2] = (uint8_t)(len >> 12);
}

static void integer(struct aml *a, uint32_t val)
{
	unsigned n = val <= 1 ? 0 : val <= 0xff ? 1 : val <= 0xffff ? 2 : 4;

	if (n == 0) {
		byte(a, val ? OP_ONE : OP_ZERO);
		return;
	}
	byte(a, n == 1 ? OP_BYTE : n == 2 ? OP_WORD : OP_DWORD);
	for (unsigned i = 0; i < n; i++)
		byte(a, (uint8_t)(val >> (8 * i)));
}

struct aml_pkg aml_scope(struct aml *a, const char name[4])
{
	struct aml_pkg k;

	byte(a, OP_SCOPE);
	k = open_pkg(a);
	byte(a, '\\');
	segment(a, name);
	return k;
}

struct aml_pkg aml_device(struct aml *a, const char name[4])
{
	struct aml_pkg k;

	byte(a, OP_EXT);
	byte(a, OP_EXT_DEVICE);
	k = open_pkg(a);
	segment(a, name);
	return k;
}

void aml_name_int(struct aml *a, const char name[4], uint32_t val)
{
	byte(a, OP_NAME);
	segment(a, name);
	integer(a, val);
}

static uint32_t hex_digit(char c)
{
	return (uint32_t)(c <= '9' ? c - '0' : c - 'A' + 10);
}

/* EISA identifiers: three letters of 5 bits and four hexadecimal digits, stored big-endian (ACPI 6.4 19.6.36). */
void aml_name_eisaid(struct aml *a, const char name[4], const char *id)
{
	uint32_t v = 0;

	for (unsigned i = 0; i < 3; i++)
		v = v << 5 | ((uint32_t)(id[i] - '@') & 0x1f);
	for (unsigned i = 3; i < 7; i++)
		v = v << 4 | hex_digit(id[i]);
	byte(a, OP_NAME);
	segment(a, name);
	byte(a, OP_DWORD);
	for (unsigned i = 0; i < 4; i++)
		byte(a, (uint8_t)(v >> (24 - 8 * i)));
}

struct aml_pkg aml_method(struct aml *a, const char name[4], unsigned args)
{
	struct aml_pkg k;

	byte(a, OP_METHOD);
	k = open_pkg(a);
	segment(a, name);
	byte(a, (uint8_t)args);
	return k;
}

void aml_store_arg0(struct aml *a, const char name[4])
{
	byte(a, OP_STORE);
	byte(a, OP_ARG0);
	segment(a, name);
}

struct aml_pkg aml_if(struct aml *a, const char name[4])
{
	struct aml_pkg k;

	byte(a, OP_IF);
	k = open_pkg(a);
	segment(a, name);
	return k;
}

void aml_return(struct aml *a, const char name[4])
{
	byte(a, OP_RETURN);
	segment(a, name);
}

struct aml_pkg aml_name_list(struct aml *a, const char name[4], unsigned n)
{
	struct aml_pkg k;

	byte(a, OP_NAME);
	segment(a, name);
	byte(a, OP_PACKAGE);
	k = open_pkg(a);
	byte(a, (uint8_t)n);
	return k;
}

void aml_name_package(struct aml *a, const char name[4], const uint32_t *val, unsigned n)
{
	byte(a, OP_NAME);
	segment(a, name);
	aml_package(a, val, n);
}

void aml_package(struct aml *a, const uint32_t *val, unsigned n)
{
	struct aml_pkg k;

	byte(a, OP_PACKAGE);
	k = open_pkg(a);
	byte(a, (uint8_t)n);
	for (unsigned i = 0; i < n; i++)
		integer(a, val[i]);
	aml_close(a, k);
}

static void crs_bytes(struct aml_crs *c, const uint8_t *b, unsigned n)
{
	BUG_ON(c->len + n > sizeof(c->body)); /* the board's own devices */
	for (unsigned i = 0; i < n; i++)
		c->body[c->len++] = b[i];
}

/* I/O port descriptor: 16-bit decode, fixed address */
void aml_crs_io(struct aml_crs *c, uint16_t port, uint8_t len)
{
	const uint8_t d[8] = {0x47, 1,  (uint8_t)port, (uint8_t)(port >> 8), (uint8_t)port, (uint8_t)(port >> 8),
			      1,    len};

	crs_bytes(c, d, sizeof(d));
}

/* IRQ descriptor without flags: edge-triggered, active high, exclusive */
void aml_crs_irq(struct aml_crs *c, unsigned irq)
{
	const uint8_t d[3] = {0x22, (uint8_t)(1u << irq), (uint8_t)((1u << irq) >> 8)};

	crs_bytes(c, d, sizeof(d));
}

/* Address space descriptors, word and double word; both ends are fixed (6.4.3.5). */
#define SPACE_MEMORY 0
#define SPACE_IO 1
#define SPACE_BUS 2
#define ENDS_FIXED 0x0c

static void crs_space16(struct aml_crs *c, uint8_t type, uint8_t flags, uint16_t first, uint16_t last)
{
	uint16_t len = (uint16_t)(last - first + 1);
	const uint8_t d[16] = {0x88, 13, 0, type, ENDS_FIXED, flags, 0, 0,
			       (uint8_t)first, (uint8_t)(first >> 8), (uint8_t)last, (uint8_t)(last >> 8), 0, 0,
			       (uint8_t)len, (uint8_t)(len >> 8)};

	crs_bytes(c, d, sizeof(d));
}

static void crs_word(struct aml_crs *c, uint32_t val)
{
	const uint8_t d[4] = {(uint8_t)val, (uint8_t)(val >> 8), (uint8_t)(val >> 16), (uint8_t)(val >> 24)};

	crs_bytes(c, d, sizeof(d));
}

void aml_crs_bus(struct aml_crs *c, uint16_t first, uint16_t last)
{
	crs_space16(c, SPACE_BUS, 0, first, last);
}

void aml_crs_io_window(struct aml_crs *c, uint16_t first, uint16_t last)
{
	crs_space16(c, SPACE_IO, 3 /* the whole range */, first, last);
}

void aml_crs_mem_window(struct aml_crs *c, uint32_t first, uint32_t last)
{
	const uint8_t d[6] = {0x87, 23, 0, SPACE_MEMORY, ENDS_FIXED, 1 /* read and write */};

	crs_bytes(c, d, sizeof(d));
	crs_word(c, 0);
	crs_word(c, first);
	crs_word(c, last);
	crs_word(c, 0);
	crs_word(c, last - first + 1);
}

static void crs_qword(struct aml_crs *c, uint64_t val)
{
	crs_word(c, (uint32_t)val);
	crs_word(c, (uint32_t)(val >> 32));
}

void aml_crs_mem64_window(struct aml_crs *c, uint64_t first, uint64_t last)
{
	const uint8_t d[6] = {0x8a, 43, 0, SPACE_MEMORY, ENDS_FIXED, 1 /* read and write */};

	crs_bytes(c, d, sizeof(d));
	crs_qword(c, 0);
	crs_qword(c, first);
	crs_qword(c, last);
	crs_qword(c, 0);
	crs_qword(c, last - first + 1);
}

void aml_crs_mem(struct aml_crs *c, uint32_t gpa, uint32_t bytes)
{
	const uint8_t d[4] = {0x86, 9, 0, 1 /* read and write */};

	crs_bytes(c, d, sizeof(d));
	crs_word(c, gpa);
	crs_word(c, bytes);
}

void aml_name_crs(struct aml *a, struct aml_crs *c)
{
	static const uint8_t end_tag[2] = {0x79, 0}; /* checksum 0: not computed */
	struct aml_pkg k;

	crs_bytes(c, end_tag, sizeof(end_tag));
	byte(a, OP_NAME);
	segment(a, "_CRS");
	byte(a, OP_BUFFER);
	k = open_pkg(a);
	integer(a, c->len);
	for (unsigned i = 0; i < c->len; i++)
		byte(a, c->body[i]);
	aml_close(a, k);
}
