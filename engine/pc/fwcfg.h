/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The firmware configuration device: named blobs that firmware reads before there is an operating system (QEMU, "fw_cfg
 * Device"). SeaBIOS and OVMF find memory, processors, tables and option ROMs here.
 *
 * Blobs are copied in when the machine is made and are read-only for the guest.
 * Threads: device lock held; fwcfg_add_* before the first vCPU starts or with all of them stopped.
 */
#ifndef STEELYARD_FWCFG_H
#define STEELYARD_FWCFG_H

#include "engine/bus.h"
#include "engine/mem.h"

struct fwcfg;

/* Numbers that are not in the directory of files. */
enum fwcfg_key {
	FWCFG_SIGNATURE = 0x00,
	FWCFG_ID = 0x01,
	FWCFG_UUID = 0x02,
	FWCFG_RAM_SIZE = 0x03,
	FWCFG_NB_CPUS = 0x05,
	FWCFG_BOOT_MENU = 0x0e,
	FWCFG_MAX_CPUS = 0x0f,
	FWCFG_FILE_DIR = 0x19,
};

#define FWCFG_NAME_BYTES 56 /* with the zero */

/* Guest memory as the device reaches it. ram_written tells whoever keeps decoded code of [gpa, gpa+len); may be NULL. */
struct fwcfg_config {
	struct mem *mem;
	void (*ram_written)(void *ctx, uint64_t gpa, uint64_t len);
	/* The guest selects a file: the last moment to add it anew, in the same length. May be NULL. */
	void (*selected)(void *ctx, const char *name);
	void *ctx;
};

/* NULL when the host has no memory. Signature and ID are there from the start. */
struct fwcfg *fwcfg_new(const struct fwcfg_config *cfg);
void fwcfg_free(struct fwcfg *f);
/* Selection and DMA address as at power-on; the blobs stay. */
void fwcfg_reset(struct fwcfg *f);
/* Copies bytes in, in the place of what was there under this key or name. ST_TOO_BIG: the directory is full, or the name
 * too long; ST_NO_MEMORY. */
enum status fwcfg_add_key(struct fwcfg *f, enum fwcfg_key key, const void *data, uint32_t len, struct error *e);
enum status fwcfg_add_file(struct fwcfg *f, const char *name, const void *data, uint32_t len, struct error *e);

extern const struct io_ops fwcfg_ops; /* 12 ports: selector, data, DMA address */

#endif
