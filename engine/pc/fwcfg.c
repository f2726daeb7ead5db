// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * fw_cfg (QEMU, docs/specs/fw_cfg): a selector, a data port that gives the selected blob byte by byte, and an address register
 * through which the guest names a request in its memory: {control, length, address}, big-endian. The request selects, skips or
 * copies a piece of a blob into RAM and is answered in place: control becomes 0, or 1 for what cannot be done.
 *
 * Past a blob's end there are zeros, for the data port and for DMA alike. Nobody may write blobs: a request for it is an error.
 * A length is the guest's to choose: more than a few zeros is an error too, since the machine's devices stand still meanwhile.
 */
#include "engine/pc/fwcfg.h"

#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OFF_SELECT 0
#define OFF_DATA 1
#define OFF_DMA 4
#define OFF_DMA_LOW 8

#define MAX_KEYS 16
#define MAX_FILES 64
#define FILE_FIRST 0x20
#define KEY_MASK 0x3fffu /* bit 14: for writing, bit 15: of the architecture */

#define ID_TRADITIONAL 1u
#define ID_DMA 2u
#define DMA_SIGNATURE 0x51454d5520434647ull /* "QEMU CFG": says that DMA is there */

#define MAX_ZEROS (1u << 20)

#define DMA_ERROR 0x01u
#define DMA_READ 0x02u
#define DMA_SKIP 0x04u
#define DMA_SELECT 0x08u
#define DMA_WRITE 0x10u

struct blob {
	uint8_t *data;
	uint32_t len;
};

struct dir_entry {
	uint32_t size;
	uint16_t select, reserved;
	char name[FWCFG_NAME_BYTES];
};

struct dma_request {
	uint32_t control, length;
	uint64_t address;
};

struct fwcfg {
	struct fwcfg_config cfg;
	struct {
		uint16_t key;
		struct blob blob;
	} key[MAX_KEYS];
	unsigned nkeys;
	struct {
		char name[FWCFG_NAME_BYTES];
		struct blob blob;
	} file[MAX_FILES];
	unsigned nfiles;
	struct blob dir;
	uint16_t selected;
	uint64_t offset;
	uint64_t dma_gpa; /* as written so far */
};

/* ---- blobs ---- */

static enum status blob_set(struct blob *b, const void *data, uint32_t len, struct error *e)
{
	uint8_t *copy = malloc(len ? len : 1);

	if (!copy)
		return error_set(e, ST_NO_MEMORY, "no host memory for a firmware table of %u bytes", len);
	memcpy(copy, data, len);
	free(b->data);
	*b = (struct blob){copy, len};
	return ST_OK;
}

static struct blob *key_blob(struct fwcfg *f, uint16_t key)
{
	for (unsigned i = 0; i < f->nkeys; i++)
		if (f->key[i].key == key)
			return &f->key[i].blob;
	return NULL;
}

enum status fwcfg_add_key(struct fwcfg *f, enum fwcfg_key key, const void *data, uint32_t len, struct error *e)
{
	struct blob *b = key_blob(f, (uint16_t)key);

	if (!b) {
		if (f->nkeys == MAX_KEYS)
			return error_set(e, ST_TOO_BIG, "more than %d firmware items", MAX_KEYS);
		f->key[f->nkeys].key = (uint16_t)key;
		b = &f->key[f->nkeys++].blob;
	}
	return blob_set(b, data, len, e);
}

/* The directory is big-endian, a count and an entry for each file. */
static enum status write_dir(struct fwcfg *f, struct error *e)
{
	struct {
		uint32_t count;
		struct dir_entry entry[MAX_FILES];
	} dir = {.count = htobe32(f->nfiles)};

	for (unsigned i = 0; i < f->nfiles; i++) {
		dir.entry[i].size = htobe32(f->file[i].blob.len);
		dir.entry[i].select = htobe16((uint16_t)(FILE_FIRST + i));
		memcpy(dir.entry[i].name, f->file[i].name, FWCFG_NAME_BYTES);
	}
	return blob_set(&f->dir, &dir, (uint32_t)(4 + f->nfiles * sizeof(struct dir_entry)), e);
}

enum status fwcfg_add_file(struct fwcfg *f, const char *name, const void *data, uint32_t len, struct error *e)
{
	enum status st;
	unsigned i = 0;

	if (strlen(name) >= FWCFG_NAME_BYTES)
		return error_set(e, ST_TOO_BIG, "firmware file name '%s' has more than %d characters", name,
				 FWCFG_NAME_BYTES - 1);
	while (i < f->nfiles && strcmp(f->file[i].name, name))
		i++;
	if (i == MAX_FILES)
		return error_set(e, ST_TOO_BIG, "more than %d firmware files", MAX_FILES);
	st = blob_set(&f->file[i].blob, data, len, e);
	if (st != ST_OK)
		return st;
	if (i == f->nfiles) {
		snprintf(f->file[i].name, FWCFG_NAME_BYTES, "%s", name);
		f->nfiles++;
	}
	return write_dir(f, e);
}

static const struct blob *selected_blob(struct fwcfg *f)
{
	if (f->selected == FWCFG_FILE_DIR)
		return &f->dir;
	if (f->selected >= FILE_FIRST && f->selected - FILE_FIRST < (int)f->nfiles)
		return &f->file[f->selected - FILE_FIRST].blob;
	return key_blob(f, f->selected);
}

static void select_blob(struct fwcfg *f, uint16_t key)
{
	/* An item of the architecture is another one of the same number, and there is none. */
	f->selected = key & 0x8000u ? 0xffff : key & KEY_MASK;
	f->offset = 0;
	if (f->cfg.selected && f->selected >= FILE_FIRST && f->selected - FILE_FIRST < (int)f->nfiles)
		f->cfg.selected(f->cfg.ctx, f->file[f->selected - FILE_FIRST].name);
}

/* ---- DMA ---- */

static bool put_bytes(struct fwcfg *f, uint64_t gpa, const void *data, uint64_t len)
{
	if (!mem_write(f->cfg.mem, gpa, data, len))
		return false;
	if (f->cfg.ram_written)
		f->cfg.ram_written(f->cfg.ctx, gpa, len);
	return true;
}

static bool dma_read(struct fwcfg *f, uint64_t gpa, uint32_t len)
{
	static const uint8_t zeros[4096];
	const struct blob *b = selected_blob(f);
	uint64_t have = b && f->offset < b->len ? b->len - f->offset : 0;
	uint64_t n = have < len ? have : len;

	if (len - n > MAX_ZEROS || (n && !put_bytes(f, gpa, b->data + f->offset, n)))
		return false;
	f->offset += len;
	for (uint64_t at = n, step; at < len; at += step) {
		step = len - at < sizeof(zeros) ? len - at : sizeof(zeros);
		if (!put_bytes(f, gpa + at, zeros, step))
			return false;
	}
	return true;
}

static void dma_start(struct fwcfg *f)
{
	uint64_t at = f->dma_gpa;
	struct dma_request rq;
	uint32_t control, length, answer = 0;

	f->dma_gpa = 0;
	if (!mem_read(f->cfg.mem, at, &rq, sizeof(rq)))
		return; /* nowhere to answer */
	control = be32toh(rq.control);
	length = be32toh(rq.length);
	if (control & DMA_SELECT)
		select_blob(f, (uint16_t)(control >> 16));
	if (control & DMA_READ)
		answer = dma_read(f, be64toh(rq.address), length) ? 0 : DMA_ERROR;
	else if (control & DMA_WRITE)
		answer = DMA_ERROR;
	else if (control & DMA_SKIP)
		f->offset += length;
	answer = htobe32(answer);
	put_bytes(f, at, &answer, sizeof(answer));
}

/* ---- ports ---- */

static uint8_t next_byte(struct fwcfg *f)
{
	const struct blob *b = selected_blob(f);
	uint8_t v = b && f->offset < b->len ? b->data[f->offset] : 0;

	f->offset++;
	return v;
}

static uint64_t fwcfg_read(void *dev, uint64_t off, unsigned size)
{
	struct fwcfg *f = dev;
	uint64_t v = 0;

	if (off == OFF_DATA && size == 1)
		return next_byte(f);
	if (off >= OFF_DMA) /* big-endian, at any width */
		for (unsigned i = 0; i < size; i++)
			v |= (DMA_SIGNATURE >> (56 - 8 * (off - OFF_DMA + i)) & 0xff) << 8 * i;
	return v;
}

static void fwcfg_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct fwcfg *f = dev;

	if (off == OFF_SELECT && size == 2) {
		select_blob(f, (uint16_t)val);
	} else if (off == OFF_DMA && size == 4) {
		f->dma_gpa = (uint64_t)be32toh((uint32_t)val) << 32;
	} else if (off == OFF_DMA_LOW && size == 4) {
		f->dma_gpa |= be32toh((uint32_t)val);
		dma_start(f);
	}
}

const struct io_ops fwcfg_ops = {"fw_cfg", fwcfg_read, fwcfg_write};

/* ---- life ---- */

void fwcfg_reset(struct fwcfg *f)
{
	f->selected = 0xffff;
	f->offset = 0;
	f->dma_gpa = 0;
}

struct fwcfg *fwcfg_new(const struct fwcfg_config *cfg)
{
	const uint32_t id = ID_TRADITIONAL | ID_DMA;
	struct fwcfg *f = calloc(1, sizeof(*f));
	struct error e;

	if (!f)
		return NULL;
	f->cfg = *cfg;
	fwcfg_reset(f);
	if (fwcfg_add_key(f, FWCFG_SIGNATURE, "QEMU", 4, &e) != ST_OK ||
	    fwcfg_add_key(f, FWCFG_ID, &id, sizeof(id), &e) != ST_OK || write_dir(f, &e) != ST_OK) {
		fwcfg_free(f);
		return NULL;
	}
	return f;
}

void fwcfg_free(struct fwcfg *f)
{
	if (!f)
		return;
	for (unsigned i = 0; i < f->nkeys; i++)
		free(f->key[i].blob.data);
	for (unsigned i = 0; i < f->nfiles; i++)
		free(f->file[i].blob.data);
	free(f->dir.data);
	free(f);
}
