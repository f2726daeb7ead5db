// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The command set of Intel's flash chips (Common Flash Interface, command set 1), a byte wide: read, program a byte, erase a block.
 * Programming turns ones into zeros and nothing back; erasing gives ones.
 *
 * Deviations: an operation takes no time, and there is no query table: OVMF, for which this is, knows its blocks. A cleared status
 * register reads 0 and not 80H until the next operation, by which OVMF tells flash from RAM and ROM.
 *
 * Every change goes to the file at once, so that what the guest was told is programmed outlives this process.
 */
#include "engine/pc/pflash.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { READ_ARRAY = 0xff, CLEAR_STATUS = 0x50, READ_STATUS = 0x70, PROGRAM = 0x40, PROGRAM_OLD = 0x10, ERASE = 0x20, CONFIRM = 0xd0 };
#define STATUS_READY 0x80u
#define STATUS_ERASE_FAILED 0x20u
#define STATUS_PROGRAM_FAILED 0x10u

struct pflash {
	uint8_t *data;
	uint64_t bytes;
	int fd; /* -1: none */
	uint8_t command, status;
	bool reading; /* the array, not the status */
};

/* ---- what it holds ---- */

/* To the file, then to the chip. */
static bool change(struct pflash *p, uint64_t off, const uint8_t *data, uint64_t n)
{
	if (p->fd >= 0 && pwrite(p->fd, data, n, (off_t)off) != (ssize_t)n)
		return false;
	memcpy(p->data + off, data, n);
	return true;
}

static void program(struct pflash *p, uint64_t off, uint8_t v)
{
	v &= p->data[off];
	p->status |= STATUS_READY | (v == p->data[off] || change(p, off, &v, 1) ? 0 : STATUS_PROGRAM_FAILED);
}

static void erase(struct pflash *p, uint64_t off)
{
	uint8_t ones[PFLASH_BLOCK];

	memset(ones, 0xff, sizeof(ones));
	p->status |= STATUS_READY | (change(p, off & ~(uint64_t)(PFLASH_BLOCK - 1), ones, sizeof(ones)) ? 0 : STATUS_ERASE_FAILED);
}

/* ---- the bus ---- */

static uint64_t pflash_read(void *dev, uint64_t off, unsigned size)
{
	const struct pflash *p = dev;
	uint64_t v = 0;

	if (!p->reading)
		memset(&v, p->status, size < sizeof(v) ? size : sizeof(v));
	else if (off < p->bytes && size <= p->bytes - off)
		memcpy(&v, p->data + off, size);
	return v;
}

/* The second cycle of a command. */
static void second(struct pflash *p, uint64_t off, uint8_t v)
{
	uint8_t command = p->command;

	p->command = 0;
	if (command == PROGRAM)
		program(p, off, v);
	else if (v == CONFIRM)
		erase(p, off);
	else
		p->status |= STATUS_READY | STATUS_ERASE_FAILED | STATUS_PROGRAM_FAILED; /* a wrong sequence */
}

static void byte_written(struct pflash *p, uint64_t off, uint8_t v)
{
	if (p->command) {
		second(p, off, v);
		return;
	}
	p->reading = v == READ_ARRAY;
	switch (v) {
	case CLEAR_STATUS:
		p->status = 0;
		p->reading = true;
		break;
	case PROGRAM:
	case PROGRAM_OLD:
		p->command = PROGRAM;
		break;
	case ERASE:
		p->command = ERASE;
		break;
	case READ_STATUS:
		break;
	default: /* no command: the chip goes on as it was when it was reset */
		p->reading = true;
		break;
	}
}

static void pflash_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct pflash *p = dev;

	if (size == 1 && off < p->bytes) /* the chip's bus is a byte wide */
		byte_written(p, off, (uint8_t)val);
}

const struct io_ops pflash_ops = {"flash", pflash_read, pflash_write};

/* ---- files ---- */

static enum status failed(struct error *e, const char *what, const char *name)
{
	enum status st = errno == ENOENT ? ST_NOT_FOUND : errno == EACCES || errno == EPERM ? ST_DENIED : ST_IO;

	return error_errno(e, st, "cannot %s the firmware's variables '%s'", what, name);
}

/* All of an open file, which has to be `want` bytes (0: any that a chip can have). */
static enum status take(int fd, const char *name, uint64_t want, uint8_t **data, uint64_t *bytes, struct error *e)
{
	struct stat s;

	if (fstat(fd, &s) != 0)
		return failed(e, "look at", name);
	*bytes = (uint64_t)s.st_size;
	if (!S_ISREG(s.st_mode) || !*bytes || *bytes % PFLASH_BLOCK || *bytes > PFLASH_MAX || (want && *bytes != want))
		return error_set(e, ST_BAD_FILE, "'%s' does not hold this firmware's variables: give another file, or one that does not exist yet",
				 name);
	*data = malloc(*bytes);
	if (!*data)
		return error_set(e, ST_NO_MEMORY, "no host memory for the firmware's variables");
	if (pread(fd, *data, *bytes, 0) == (ssize_t)*bytes)
		return ST_OK;
	free(*data);
	*data = NULL;
	return failed(e, "read", name);
}

static enum status take_first(struct pflash *p, const char *first, struct error *e)
{
	int fd = open(first, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	enum status st;

	if (fd < 0)
		return failed(e, "open", first);
	st = take(fd, first, 0, &p->data, &p->bytes, e);
	close(fd);
	return st;
}

/* What is there, or the first contents where nothing is. */
static enum status take_file(struct pflash *p, const char *file, struct error *e)
{
	struct stat s;
	uint8_t *data = NULL;
	uint64_t bytes;
	enum status st;

	p->fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0600);
	if (p->fd < 0)
		return failed(e, "open", file);
	if (flock(p->fd, LOCK_EX | LOCK_NB) != 0)
		return error_set(e, ST_BUSY, "another machine has the firmware's variables '%s': give it a file of its own", file);
	if (fstat(p->fd, &s) == 0 && S_ISREG(s.st_mode) && s.st_size == 0)
		return pwrite(p->fd, p->data, p->bytes, 0) == (ssize_t)p->bytes ? ST_OK : failed(e, "write", file);
	st = take(p->fd, file, p->bytes, &data, &bytes, e);
	if (st == ST_OK) {
		free(p->data);
		p->data = data;
	}
	return st;
}

/* ---- life ---- */

enum status pflash_new(const char *first, const char *file, struct pflash **out, struct error *e)
{
	struct pflash *p = calloc(1, sizeof(*p));
	enum status st;

	if (!p)
		return error_set(e, ST_NO_MEMORY, "no host memory for a flash chip");
	p->fd = -1;
	st = take_first(p, first, e);
	if (st == ST_OK && file)
		st = take_file(p, file, e);
	if (st != ST_OK) {
		pflash_free(p);
		return st;
	}
	pflash_reset(p);
	*out = p;
	return ST_OK;
}

void pflash_free(struct pflash *p)
{
	if (!p)
		return;
	if (p->fd >= 0)
		close(p->fd);
	free(p->data);
	free(p);
}

void pflash_reset(struct pflash *p)
{
	p->command = 0;
	p->status = STATUS_READY;
	p->reading = true;
}

uint64_t pflash_bytes(const struct pflash *p)
{
	return p->bytes;
}
