// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The controller's half (AHCI 1.3.1): registers, and a worker that takes commands out of guest memory when PxCI says so. The
 * worker reads the command, does it with the image, copies, posts the FIS that tells how it went, and raises the line; the
 * device lock is not held meanwhile. A command that fails stops the port until the driver clears PxCMD.ST, as section 5.3 has it.
 *
 * What registers hold is under `lock`, a leaf but for the wires behind the line. PxCMD.ST going down waits for the worker.
 */
#include "engine/ahci/ahci.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define VENDOR_INTEL 0x8086u
#define DEVICE_ICH9_AHCI 0x2922u
#define CLASS_AHCI 0x010601u
#define ABAR 5u
#define ABAR_BYTES 4096u

/* Global registers, 3.1 */
#define CAP 0x00u
#define GHC 0x04u
#define IS 0x08u
#define PI 0x0cu
#define VS 0x10u
#define SLOTS 32u
#define CAP_VALUE (1u << 31 | 1u << 20 | 1u << 18 | (SLOTS - 1) << 8) /* 64-bit, 1.5 Gbit/s, AHCI only */
#define GHC_RESET 1u
#define GHC_IE 2u
#define GHC_AE (1u << 31)

/* Port registers, 3.3 */
#define PORT 0x100u
enum { CLB = 0x00, CLBU = 0x04, FB = 0x08, FBU = 0x0c, PIS = 0x10, PIE = 0x14, CMD = 0x18, TFD = 0x20, SIG = 0x24,
       SSTS = 0x28, SCTL = 0x2c, SERR = 0x30, SACT = 0x34, CI = 0x38, PORT_REGS = 0x40 };
#define CMD_ST 0x01u
#define CMD_FRE 0x10u
#define CMD_FR (1u << 14)
#define CMD_CR (1u << 15)
#define CMD_WRITABLE 0xf300001fu
#define CMD_CLO 0x08u /* clears itself */
#define PIS_D2H 1u
#define PIS_PIO 2u
#define PIS_ERROR (1u << 30)
#define SIG_ATAPI 0xeb140101u
#define SSTS_UP 0x113u

/* Command list and table, 4.2 */
#define HEADER_BYTES 32u
#define HEADER_MOVED 4u
#define TABLE_FIS 0x00u
#define TABLE_PACKET 0x40u
#define TABLE_PRDT 0x80u
#define PRD_BYTES 16u
#define FIS_H2D 0x27u
#define FIS_D2H 0x34u
#define FIS_PIO 0x5fu
#define FIS_AREA_PIO 0x20u
#define FIS_AREA_D2H 0x40u
#define FIS_IS_COMMAND 0x80u
#define FIS_INTERRUPT 0x40u

enum { ATA_DEVICE_RESET = 0x08, ATA_PACKET = 0xa0, ATA_IDENTIFY_PACKET = 0xa1, ATA_IDENTIFY = 0xec, ATA_SET_FEATURES = 0xef };
#define STATUS_READY 0x50u
#define STATUS_ERROR 0x51u
#define ERROR_ABORT 0x04u
#define IOV 64u

struct ahci {
	struct pci_function *f;
	const struct dma *dma;
	struct blk_image *img;
	struct worker *worker;
	struct atapi drive;   /* the worker's */
	pthread_mutex_t lock; /* what follows */
	uint32_t ghc, is;
	uint32_t port[PORT_REGS / 4];
	bool started, failed;
};

static uint32_t *reg(struct ahci *a, unsigned off)
{
	return &a->port[off / 4];
}

/* The lock held. */
static bool line_level(struct ahci *a)
{
	if (*reg(a, PIS) & *reg(a, PIE))
		a->is |= 1;
	return (a->is & 1) && (a->ghc & GHC_IE);
}

/* ---- the worker: moving data ---- */

struct command {
	uint64_t header, table; /* in guest memory */
	uint32_t nprd, moved;
	unsigned prd; /* the entry that is next, and what has been used of it */
	uint64_t used;
};

/* The next piece of the guest's buffer, at most max bytes; NULL: there is no more, or it is no memory. */
static void *next_piece(struct ahci *a, struct command *c, uint64_t max, uint64_t *len)
{
	struct {
		uint64_t address;
		uint32_t reserved, count;
	} prd;
	uint64_t room = 0;
	void *p;

	for (; c->prd < c->nprd; c->prd++, c->used = 0) {
		if (!mem_read(a->dma->mem, c->table + TABLE_PRDT + (uint64_t)c->prd * PRD_BYTES, &prd, sizeof(prd)))
			return NULL;
		room = (prd.count & 0x3fffff) + 1ull;
		if (c->used < room)
			break;
	}
	if (c->prd >= c->nprd)
		return NULL;
	*len = room - c->used < max ? room - c->used : max;
	p = dma_at(a->dma, prd.address + c->used, *len);
	c->used += *len;
	return p;
}

static bool put_data(struct ahci *a, struct command *c, const uint8_t *data, uint64_t bytes)
{
	while (bytes) {
		uint64_t len;
		void *to = next_piece(a, c, bytes, &len);

		if (!to)
			return false;
		memcpy(to, data, len);
		dma_wrote(a->dma, to, len);
		data += len;
		bytes -= len;
		c->moved += (uint32_t)len;
	}
	return true;
}

/* The image's bytes straight to the guest's. */
static bool put_sectors(struct ahci *a, struct command *c, uint64_t sector, uint64_t n)
{
	uint64_t at = sector * ATAPI_SECTOR, bytes = n * ATAPI_SECTOR;

	while (bytes) {
		struct iovec iov[IOV];
		struct blk_request r = {.op = BLK_READ, .offset = at, .iov = iov};
		uint64_t len;

		while (r.niov < IOV && r.bytes < bytes) {
			void *to = next_piece(a, c, bytes - r.bytes, &len);

			if (!to)
				break;
			iov[r.niov++] = (struct iovec){to, len};
			r.bytes += len;
		}
		/* A list of buffers that ends inside a sector is not what a driver gives. */
		if (!r.bytes || r.bytes % BLK_SECTOR || blk_image_do(a->img, &r) != 0)
			return false;
		for (unsigned i = 0; i < r.niov; i++)
			dma_wrote(a->dma, iov[i].iov_base, iov[i].iov_len);
		at += r.bytes;
		bytes -= r.bytes;
		c->moved += (uint32_t)r.bytes;
	}
	return true;
}

/* ---- the worker: commands ---- */

struct outcome {
	uint8_t status, error;
	bool pio; /* data went to the driver by programmed I/O */
};

static struct outcome do_packet(struct ahci *a, struct command *c)
{
	struct atapi_answer answer;
	uint8_t packet[12];
	bool ok = mem_read(a->dma->mem, c->table + TABLE_PACKET, packet, sizeof(packet)) && atapi_packet(&a->drive, packet, &answer);

	if (ok && answer.sectors && !put_sectors(a, c, answer.sector, answer.sectors)) {
		a->drive.sense_key = 3; /* medium error: unrecovered read error */
		a->drive.sense_code = 0x11;
		ok = false;
	}
	if (ok && answer.len) {
		uint8_t odd[ATAPI_ANSWER_MAX + 1] = {0};

		memcpy(odd, answer.data, answer.len);
		put_data(a, c, odd, answer.len); /* what does not fit is what the driver did not want */
	}
	return ok ? (struct outcome){.status = STATUS_READY} :
		    (struct outcome){.status = STATUS_ERROR, .error = (uint8_t)(a->drive.sense_key << 4 | ERROR_ABORT)};
}

static struct outcome do_ata(struct ahci *a, struct command *c, const uint8_t fis[64])
{
	uint8_t identity[512];

	switch (fis[2]) {
	case ATA_PACKET:
		return do_packet(a, c);
	case ATA_IDENTIFY_PACKET:
		atapi_identify(identity);
		put_data(a, c, identity, sizeof(identity));
		return (struct outcome){.status = STATUS_READY, .pio = true};
	case ATA_SET_FEATURES:
		return (struct outcome){.status = STATUS_READY};
	case ATA_DEVICE_RESET:
		return (struct outcome){.error = 1};
	default: /* ATA_IDENTIFY among them: that is how drivers tell a packet device */
		return (struct outcome){.status = STATUS_ERROR, .error = ERROR_ABORT};
	}
}

static void post_fis(struct ahci *a, unsigned area, const uint8_t *fis, unsigned n)
{
	uint64_t base = ((uint64_t)*reg(a, FBU) << 32 | (*reg(a, FB) & ~0xffu)) + area;
	void *to = *reg(a, CMD) & CMD_FRE ? dma_at(a->dma, base, n) : NULL;

	if (!to)
		return;
	memcpy(to, fis, n);
	dma_wrote(a->dma, to, n);
}

static void finish(struct ahci *a, unsigned slot, const struct command *c, const struct outcome *o)
{
	uint8_t fis[20] = {o->pio ? FIS_PIO : FIS_D2H, FIS_INTERRUPT | (o->pio ? 0x20 : 0), o->status, o->error};
	static const uint8_t signature[3] = {0x01, 0x14, 0xeb};
	bool wrong = o->status & 1;

	void *moved = dma_at(a->dma, c->header + HEADER_MOVED, sizeof(c->moved));

	if (moved) {
		memcpy(moved, &c->moved, sizeof(c->moved));
		dma_wrote(a->dma, moved, sizeof(c->moved));
	}
	pthread_mutex_lock(&a->lock);
	if (o->error && o->error <= ERROR_ABORT) {
		memcpy(fis + 4, signature, sizeof(signature)); /* after a reset, and where a disk was asked for */
		fis[12] = 1;
	} else {
		fis[12] = 3; /* interrupt reason: the command is complete */
	}
	if (o->pio) {
		fis[15] = o->status;
		fis[16] = (uint8_t)c->moved;
		fis[17] = (uint8_t)(c->moved >> 8);
	}
	post_fis(a, o->pio ? FIS_AREA_PIO : FIS_AREA_D2H, fis, sizeof(fis));
	*reg(a, TFD) = (uint32_t)o->error << 8 | o->status;
	*reg(a, PIS) |= o->pio ? PIS_PIO : PIS_D2H;
	if (wrong)
		*reg(a, PIS) |= PIS_ERROR;
	else
		*reg(a, CI) &= ~(1u << slot);
	a->failed = wrong;
	pci_intx_later(a->f, line_level(a));
	pthread_mutex_unlock(&a->lock);
}

static void do_slot(struct ahci *a, unsigned slot, uint64_t list)
{
	struct command c = {.header = list + (uint64_t)slot * HEADER_BYTES};
	struct outcome o = {.status = STATUS_ERROR, .error = ERROR_ABORT};
	struct {
		uint32_t flags, moved;
		uint64_t table;
	} header;
	uint8_t fis[64];

	if (mem_read(a->dma->mem, c.header, &header, sizeof(header)) &&
	    mem_read(a->dma->mem, (c.table = header.table & ~0x7full) + TABLE_FIS, fis, sizeof(fis)) && fis[0] == FIS_H2D) {
		c.nprd = header.flags >> 16;
		/* A FIS that carries no command is the driver's reset of the drive. */
		o = fis[1] & FIS_IS_COMMAND ? do_ata(a, &c, fis) : (struct outcome){.error = 1};
	}
	finish(a, slot, &c, &o);
}

static bool port_run(void *ctx, const struct pollfd *p, unsigned n)
{
	struct ahci *a = ctx;
	uint32_t todo;
	uint64_t list;

	(void)p, (void)n;
	pthread_mutex_lock(&a->lock);
	todo = a->failed || !atomic_load(&a->f->master) ? 0 : *reg(a, CI);
	list = (uint64_t)*reg(a, CLBU) << 32 | (*reg(a, CLB) & ~0x3ffu);
	pthread_mutex_unlock(&a->lock);
	if (!todo)
		return false;
	do_slot(a, (unsigned)__builtin_ctz(todo), list);
	return true;
}

static const struct worker_ops port_ops = {.run = port_run};

/* ---- registers ---- */

static void stop_port(struct ahci *a)
{
	if (a->started)
		worker_stop(a->worker);
	a->started = false;
}

static void port_reset(struct ahci *a)
{
	stop_port(a);
	memset(a->port, 0, sizeof(a->port));
	*reg(a, TFD) = STATUS_READY;
	*reg(a, SIG) = SIG_ATAPI;
	*reg(a, SSTS) = SSTS_UP;
	a->failed = false;
	a->ghc = GHC_AE;
	a->is = 0;
}

static uint32_t reg_read(struct ahci *a, unsigned off)
{
	switch (off) {
	case CAP:
		return CAP_VALUE;
	case GHC:
		return a->ghc;
	case IS:
		return a->is;
	case PI:
		return 1;
	case VS:
		return 0x00010300;
	default:
		return off >= PORT && off < PORT + PORT_REGS ? *reg(a, off - PORT) : 0;
	}
}

/* Before the lock: what has to wait for the worker. */
static void stop_first(struct ahci *a, unsigned off, uint32_t v)
{
	if (off == GHC && (v & GHC_RESET))
		port_reset(a);
	if (off == PORT + CMD && !(v & CMD_ST))
		stop_port(a);
}

static void command_written(struct ahci *a, uint32_t v)
{
	uint32_t now = v & CMD_WRITABLE & ~CMD_CLO;

	now |= now & CMD_FRE ? CMD_FR : 0;
	now |= now & CMD_ST ? CMD_CR : 0;
	if (!(now & CMD_ST)) {
		*reg(a, CI) = *reg(a, SACT) = 0;
		a->failed = false;
	} else if (!a->started) {
		a->started = true;
		worker_start(a->worker);
	}
	*reg(a, CMD) = now;
}

static void port_written(struct ahci *a, unsigned off, uint32_t v)
{
	switch (off) {
	case PIS:
	case SERR:
		*reg(a, off) &= ~v;
		break;
	case CMD:
		command_written(a, v);
		break;
	case SCTL:
		if ((*reg(a, SCTL) & 15) == 1 && (v & 15) == 0) { /* out of reset: the drive says who it is */
			*reg(a, TFD) = STATUS_READY;
			*reg(a, PIS) |= PIS_D2H;
		}
		*reg(a, SCTL) = v & 0xfff;
		*reg(a, SSTS) = (v & 15) == 4 ? 4 : SSTS_UP;
		break;
	case CI:
		if (*reg(a, CMD) & CMD_ST) {
			*reg(a, CI) |= v;
			worker_kick(a->worker);
		}
		break;
	case CLB:
	case CLBU:
	case FB:
	case FBU:
	case PIE:
		*reg(a, off) = v;
		break;
	default:
		break;
	}
}

static uint64_t ahci_read(void *dev, uint64_t off, unsigned size)
{
	struct ahci *a = dev;
	uint64_t v;

	if (size > 4 || (off & 3) + size > 4)
		return 0;
	pthread_mutex_lock(&a->lock);
	v = reg_read(a, (unsigned)off & ~3u) >> 8 * (off & 3);
	pthread_mutex_unlock(&a->lock);
	return v;
}

/* Whole registers alone (3). */
static void ahci_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct ahci *a = dev;
	uint32_t v = (uint32_t)val;

	if (size != 4 || off % 4)
		return;
	stop_first(a, (unsigned)off, v);
	if (off == GHC && (v & GHC_RESET))
		v = 0;
	pthread_mutex_lock(&a->lock);
	if (off == GHC)
		a->ghc = GHC_AE | (v & GHC_IE);
	else if (off == IS)
		a->is &= ~v;
	else if (off >= PORT && off < PORT + PORT_REGS)
		port_written(a, (unsigned)off - PORT, v);
	pci_intx(a->f, line_level(a));
	pthread_mutex_unlock(&a->lock);
}

static const struct io_ops ahci_bar = {"ahci", ahci_read, ahci_write};

/* ---- the function ---- */

static void ahci_reset(struct pci_function *f)
{
	port_reset(f->dev);
}

/* A driver may give the command first and the right to reach memory then. */
static void ahci_config_written(struct pci_function *f, unsigned off, unsigned size)
{
	struct ahci *a = f->dev;

	if (off <= PCI_COMMAND && off + size > PCI_COMMAND && a->started)
		worker_kick(a->worker);
}

static void ahci_free(struct pci_function *f)
{
	struct ahci *a = f->dev;

	stop_port(a);
	worker_free(a->worker);
	blk_image_close(a->img);
	pthread_mutex_destroy(&a->lock);
	free(a);
}

static const struct pci_ops ahci_ops = {.config_written = ahci_config_written, .reset = ahci_reset, .free = ahci_free};

struct pci_function *ahci_new(struct blk_image *img, const struct dma *dma, struct error *e)
{
	struct ahci *a = calloc(1, sizeof(*a));
	struct worker *w = a ? worker_new("cdrom", &port_ops, a, e) : NULL;

	if (w) {
		*a = (struct ahci){.dma = dma, .img = img, .worker = w, .drive.sectors = blk_image_bytes(img) / ATAPI_SECTOR};
		a->f = pci_function_new(&ahci_ops, a, VENDOR_INTEL, DEVICE_ICH9_AHCI, CLASS_AHCI);
	}
	if (!w || !a->f) {
		if (w)
			worker_free(w);
		if (!a || w)
			error_set(e, ST_NO_MEMORY, "no memory for a CD drive");
		free(a);
		blk_image_close(img);
		return NULL;
	}
	pthread_mutex_init(&a->lock, NULL);
	pci_bar(a->f, ABAR, PCI_BAR_MEM32, ABAR_BYTES, &ahci_bar, a);
	pci_wants_intx(a->f);
	port_reset(a);
	return a->f;
}
