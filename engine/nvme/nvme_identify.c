// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What the controller says of itself and its namespace (NVM Express 1.4, 5.15). The structures are long and mostly zero, so
 * each is a table: offset, width, value.
 */
#include <stdio.h>
#include <string.h>

#include "engine/nvme/nvme_int.h"

#define IDENTIFY_BYTES 4096u

enum cns { CNS_NAMESPACE, CNS_CONTROLLER, CNS_ACTIVE, CNS_DESCRIPTORS };

struct field {
	unsigned off, bytes;
	uint64_t val;
};

static void fill(uint8_t *buf, const struct field *f, unsigned n)
{
	for (; n--; f++)
		memcpy(buf + f->off, &f->val, f->bytes);
}

/* ASCII, padded with spaces (1.5) */
static void text(uint8_t *buf, unsigned bytes, const char *s)
{
	size_t len = strnlen(s, bytes);

	memset(buf, ' ', bytes);
	memcpy(buf, s, len);
}

/* EUI-64: the locally administered prefix that virtual network cards have too, and the controller's number. */
static void eui64(const struct nvme *n, uint8_t id[8])
{
	const uint8_t val[8] = {0x52, 0x54, 0x00, 0xff, 0xfe, 0x00, (uint8_t)(n->index >> 8), (uint8_t)n->index};

	memcpy(id, val, sizeof(val));
}

static void identify_controller(const struct nvme *n, uint8_t *buf)
{
	const struct field fields[] = {
		{0, 2, NVME_VENDOR},
		{2, 2, NVME_VENDOR},
		{73, 3, 0x525400}, /* IEEE OUI, least significant byte first */
		{77, 1, NVME_MDTS},
		{80, 4, NVME_VERSION},
		{111, 1, 1}, /* an I/O controller */
		{258, 1, 3}, /* aborts at once, 0's based */
		{259, 1, NVME_AER_MAX - 1},
		{260, 1, 0x03}, /* one firmware slot, read only */
		{261, 1, 0x04}, /* log pages by offset and with long counts */
		{266, 2, 343},  /* temperatures, in kelvin: warning, critical */
		{268, 2, 373},
		{512, 1, 0x66}, /* log2 of the entries' sizes */
		{513, 1, 0x44},
		{516, 4, 1},                          /* namespaces */
		{520, 2, 0x0c},                       /* write zeroes, dataset management */
		{525, 1, n->has_cache ? 0x07 : 0x06}, /* volatile write cache; flush of all namespaces */
		{2048, 2, 2500},                      /* the one power state: 25 W */
	};
	char nqn[96];

	fill(buf, fields, ARRAY_LEN(fields));
	text(buf + 4, 20, n->serial);
	text(buf + 24, 40, "Steelyard NVMe");
	text(buf + 64, 8, "1.0");
	snprintf(nqn, sizeof(nqn), "nqn.2014-08.org.nvmexpress:uuid:52540000-7374-4565-8c79-6172640000%02x",
		 n->index & 0xff);
	memcpy(buf + 768, nqn, strlen(nqn));
}

static void identify_namespace(const struct nvme *n, uint8_t *buf)
{
	unsigned page = NVME_PAGE >> n->block_bits; /* what the host likes best is a page */
	const struct field fields[] = {
		{0, 8, n->blocks},
		{8, 8, n->blocks},
		{16, 8, n->blocks},
		{24, 1, 0x10}, /* the preferred sizes are there */
		{33, 1, blk_image_discards(n->image) ? 0x09 : 0}, /* deallocated blocks read as zeroes; Write Zeroes has DEAC */
		{64, 2, page - 1},
		{66, 2, page - 1},
		{68, 2, page - 1},
		{70, 2, page - 1},
		{72, 2, page - 1},
		{99, 1, blk_image_readonly(n->image)},
		{128, 4, n->block_bits << 16},
	};

	fill(buf, fields, ARRAY_LEN(fields));
	eui64(n, buf + 120);
}

uint16_t nvme_identify(const struct nvme *n, const struct nvme_command *c, uint8_t *buf)
{
	const uint32_t first = NVME_NSID;

	memset(buf, 0, IDENTIFY_BYTES);
	switch (c->cdw10 & 0xff) {
	case CNS_NAMESPACE:
		if (c->nsid != NVME_NSID)
			return NVME_BAD_NAMESPACE;
		identify_namespace(n, buf);
		return NVME_OK;
	case CNS_CONTROLLER:
		identify_controller(n, buf);
		return NVME_OK;
	case CNS_ACTIVE: /* those above nsid */
		if (c->nsid >= NVME_NSID_ALL - 1)
			return NVME_BAD_NAMESPACE;
		if (c->nsid < NVME_NSID)
			memcpy(buf, &first, sizeof(first));
		return NVME_OK;
	case CNS_DESCRIPTORS:
		if (c->nsid != NVME_NSID)
			return NVME_BAD_NAMESPACE;
		buf[0] = 1; /* an EUI-64 of 8 bytes */
		buf[1] = 8;
		eui64(n, buf + 4);
		return NVME_OK;
	default:
		return NVME_BAD_FIELD;
	}
}
