// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The CD drive's half: packets in, answers out (MMC-3, SPC-2). The disc is always in, has one session with one data track, and is
 * never written. A request that the drive does not know is an illegal request, which every driver expects of some.
 */
#include <string.h>

#include "engine/ahci/ahci.h"

enum {
	TEST_UNIT_READY = 0x00,
	REQUEST_SENSE = 0x03,
	INQUIRY = 0x12,
	START_STOP = 0x1b,
	PREVENT_REMOVAL = 0x1e,
	READ_CAPACITY = 0x25,
	READ_10 = 0x28,
	READ_TOC = 0x43,
	GET_CONFIGURATION = 0x46,
	GET_EVENT = 0x4a,
	READ_DISC_INFO = 0x51,
	MODE_SENSE_10 = 0x5a,
	READ_12 = 0xa8,
};

enum { KEY_NONE, KEY_ILLEGAL = 5 };
#define ASC_OPCODE 0x20
#define ASC_RANGE 0x21
#define ASC_FIELD 0x24
#define PROFILE_CD_ROM 8
#define LEAD_OUT 0xaa
#define TRACK_DATA 0x14 /* ADR 1: a data track */
#define EVENT_MEDIA 4
#define EVENT_MEDIA_BIT 0x10

static uint32_t be16(const uint8_t *p)
{
	return (uint32_t)p[0] << 8 | p[1];
}

static uint32_t be32(const uint8_t *p)
{
	return be16(p) << 16 | be16(p + 2);
}

static void put_be16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void put_be32(uint8_t *p, uint64_t v)
{
	put_be16(p, (uint32_t)(v >> 16) & 0xffff);
	put_be16(p + 2, v & 0xffff);
}

static bool refuse(struct atapi *a, uint8_t code)
{
	a->sense_key = KEY_ILLEGAL;
	a->sense_code = code;
	return false;
}

/* The first len bytes, of which the host has room for so many. */
static bool give(struct atapi_answer *out, uint32_t len, uint32_t room)
{
	out->len = len < room ? len : room;
	return true;
}

static bool request_sense(struct atapi *a, const uint8_t *p, struct atapi_answer *out)
{
	out->data[0] = 0x70;
	out->data[2] = a->sense_key;
	out->data[7] = 10;
	out->data[12] = a->sense_code;
	a->sense_key = a->sense_code = KEY_NONE;
	return give(out, 18, p[4]);
}

static bool inquiry(struct atapi *a, const uint8_t *p, struct atapi_answer *out)
{
	if (p[1] & 3)
		return refuse(a, ASC_FIELD); /* no pages of vital product data */
	out->data[0] = 5;    /* a CD */
	out->data[1] = 0x80; /* that can be taken out */
	out->data[3] = 0x21;
	out->data[4] = 31;
	memcpy(out->data + 8, "STLYRD  STEELYARD CD    1.0 ", 28);
	return give(out, 36, p[4]);
}

static bool read_blocks(struct atapi *a, uint64_t sector, uint64_t n, struct atapi_answer *out)
{
	if (sector > a->sectors || n > a->sectors - sector)
		return refuse(a, ASC_RANGE);
	out->sector = sector;
	out->sectors = n;
	return true;
}

/* An address as block number, or as minute, second and frame, 75 a second, from 2 seconds on. */
static void put_address(uint8_t *p, uint64_t sector, bool msf)
{
	sector += msf ? 150 : 0;
	put_be32(p, sector);
	if (msf) {
		p[0] = 0;
		p[1] = (uint8_t)(sector / 75 / 60);
		p[2] = (uint8_t)(sector / 75 % 60);
		p[3] = (uint8_t)(sector % 75);
	}
}

static bool read_toc(struct atapi *a, const uint8_t *p, struct atapi_answer *out)
{
	unsigned format = p[2] & 15 ? p[2] & 15u : p[9] >> 6, first = p[6]; /* old drivers say it in the last byte */
	uint8_t *d = out->data, *t = d + 4;
	bool msf = p[1] & 2;

	if (format > 1 || (format == 0 && first > 1 && first != LEAD_OUT))
		return refuse(a, ASC_FIELD);
	d[2] = d[3] = 1;
	if (format == 1 || first <= 1) { /* the session's first track is the same */
		t[1] = TRACK_DATA;
		t[2] = 1;
		put_address(t + 4, 0, msf);
		t += 8;
	}
	if (format == 0) {
		t[1] = TRACK_DATA;
		t[2] = LEAD_OUT;
		put_address(t + 4, a->sectors, msf);
		t += 8;
	}
	put_be16(d, (uint32_t)(t - d) - 2);
	return give(out, (uint32_t)(t - d), be16(p + 7));
}

static bool get_configuration(const uint8_t *p, struct atapi_answer *out)
{
	uint8_t *d = out->data;

	put_be32(d, 12);
	put_be16(d + 6, PROFILE_CD_ROM);
	d[10] = 3; /* the list of profiles, in force */
	d[11] = 4;
	put_be16(d + 12, PROFILE_CD_ROM);
	d[14] = 1;
	return give(out, 16, be16(p + 7));
}

static bool get_event(struct atapi *a, const uint8_t *p, struct atapi_answer *out)
{
	if (!(p[1] & 1))
		return refuse(a, ASC_FIELD); /* it tells when asked, and not by itself */
	if (!(p[4] & EVENT_MEDIA_BIT)) {
		put_be16(out->data, 2);
		out->data[2] = 0x80;
		out->data[3] = EVENT_MEDIA_BIT;
		return give(out, 4, be16(p + 7));
	}
	put_be16(out->data, 6);
	out->data[2] = EVENT_MEDIA;
	out->data[3] = EVENT_MEDIA_BIT;
	out->data[5] = 2; /* nothing new, the disc is in */
	return give(out, 8, be16(p + 7));
}

static bool read_disc_info(const uint8_t *p, struct atapi_answer *out)
{
	put_be16(out->data, 32);
	out->data[2] = 0x0e; /* complete, its last session too */
	out->data[3] = out->data[4] = out->data[5] = out->data[6] = 1;
	return give(out, 34, be16(p + 7));
}

static bool mode_sense(struct atapi *a, const uint8_t *p, struct atapi_answer *out)
{
	if ((p[2] & 0x3f) != 0x2a && (p[2] & 0x3f) != 0x3f)
		return refuse(a, ASC_FIELD);
	put_be16(out->data, 6 + 22);
	out->data[8] = 0x2a; /* what the drive can do: it reads and it has a tray */
	out->data[9] = 20;
	out->data[14] = 0x29;
	put_be16(out->data + 16, 706);
	put_be16(out->data + 22, 706);
	return give(out, 30, be16(p + 7));
}

bool atapi_packet(struct atapi *a, const uint8_t packet[12], struct atapi_answer *out)
{
	*out = (struct atapi_answer){0};
	switch (packet[0]) {
	case TEST_UNIT_READY:
	case START_STOP:
	case PREVENT_REMOVAL:
		return true;
	case REQUEST_SENSE:
		return request_sense(a, packet, out);
	case INQUIRY:
		return inquiry(a, packet, out);
	case READ_CAPACITY:
		put_be32(out->data, a->sectors ? a->sectors - 1 : 0);
		put_be32(out->data + 4, ATAPI_SECTOR);
		return give(out, 8, 8);
	case READ_10:
		return read_blocks(a, be32(packet + 2), be16(packet + 7), out);
	case READ_12:
		return read_blocks(a, be32(packet + 2), be32(packet + 6), out);
	case READ_TOC:
		return read_toc(a, packet, out);
	case GET_CONFIGURATION:
		return get_configuration(packet, out);
	case GET_EVENT:
		return get_event(a, packet, out);
	case READ_DISC_INFO:
		return read_disc_info(packet, out);
	case MODE_SENSE_10:
		return mode_sense(a, packet, out);
	default:
		return refuse(a, ASC_OPCODE);
	}
}

/* Text in a drive's identity has its bytes swapped in pairs (ATA8-ACS 3.4.9). */
static void put_text(uint8_t *p, const char *s, unsigned n)
{
	size_t len = strlen(s);

	for (unsigned i = 0; i < n; i++)
		p[i ^ 1] = i < len ? (uint8_t)s[i] : ' ';
}

void atapi_identify(uint8_t out[512])
{
	static const struct {
		uint8_t word;
		uint16_t value;
	} words[] = {
		{0, 0x85c0},  /* a removable CD, packets of 12 bytes, DRQ within 50 us */
		{49, 0x0300}, /* LBA and DMA */
		{53, 0x0006}, {63, 0x0007}, {64, 0x0003}, {65, 120}, {66, 120}, {67, 120}, {68, 120},
		{76, 0x0002}, /* SATA, 1.5 Gbit/s */
		{80, 0x00f0}, {82, 0x0210}, {83, 0x4000}, {84, 0x4000}, {85, 0x0210}, {87, 0x4000}, {88, 0x003f},
	};

	memset(out, 0, 512);
	for (unsigned i = 0; i < ARRAY_LEN(words); i++) {
		out[2 * words[i].word] = (uint8_t)words[i].value;
		out[2 * words[i].word + 1] = (uint8_t)(words[i].value >> 8);
	}
	put_text(out + 20, "1", 20);
	put_text(out + 46, "1.0", 8);
	put_text(out + 54, "STEELYARD CD", 40);
}
