/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Emits ACPI Machine Language (ACPI 6.4 chapter 20; resource descriptors 6.4.2). */
#include "engine/aml.h"

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
	OP_EXT = 0x5b,
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

void aml_name_package(struct aml *a, const char name[4], const uint32_t *val, unsigned n)
{
	struct aml_pkg k;

	byte(a, OP_NAME);
	segment(a, name);
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
