// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The controller: registers, doorbells, queues as memory, interrupts, life (NVM Express 1.4, chapters 3 and 7).
 *
 *     0000 registers   1000 doorbells: for queue y the submission tail at 8 y, the completion head at 8 y + 4
 *
 * A driver writes AQA, ASQ and ACQ, then sets CC.EN; when they make no sense CSTS.CFS says so, and until CC.EN is cleared
 * nothing else happens. Clearing it, a reset of the function and the end of the machine are one thing: all queues are
 * closed, which waits for their workers. A shutdown (CC.SHN) brings the image's cache to its medium, in a worker.
 *
 * Interrupts: MSI-X, a vector for each completion queue as the driver wants; without it INTA is up while a queue that
 * interrupts has something in it and its vector is not masked. That is decided in one place, under a lock: a completion
 * of a worker and a doorbell of a vCPU may come at once, and the later look must win.
 */
#include "engine/nvme/nvme.h"

#include <stdlib.h>
#include <string.h>

#include "engine/nvme/nvme_int.h"

#define CLASS_NVME 0x010802u
#define BAR_REGS 0u
#define BAR_MSIX 4u
#define BAR_BYTES 16384u
#define DOORBELLS 0x1000u
#define DOORBELL_BYTES 8u

enum reg {
	REG_CAP = 0x00,
	REG_VS = 0x08,
	REG_INTMS = 0x0c,
	REG_INTMC = 0x10,
	REG_CC = 0x14,
	REG_CSTS = 0x1c,
	REG_AQA = 0x24,
	REG_ASQ = 0x28,
	REG_ACQ = 0x30,
	REG_END = 0x38,
};
/* Contiguous queues only; ready within ten seconds; the NVM command set; pages of 4 KiB. */
#define CAP ((NVME_ENTRIES_MAX - 1ull) | 1ull << 16 | 20ull << 24 | 1ull << 37)
#define CC_EN 1u
#define CC_UNKNOWN 0x3ff0u /* command set, page size, arbitration: all zero is what there is */
#define CC_SHN(cc) ((cc) >> 14 & 3)
#define CC_WRITABLE 0x00fffff1u
#define CSTS_RDY 1u
#define CSTS_CFS 2u
#define CSTS_SHUTTING 0x4u
#define CSTS_SHUT 0x8u
#define CSTS_SHST 0xcu

enum { EVENT_BAD_DOORBELL = 0, EVENT_BAD_VALUE = 1 };

/* ---- interrupts ---- */

static bool wants_intx(const struct nvme *n, const struct nvme_cq *cq)
{
	return cq->interrupts && !(cq->vector < 32 && n->intx_mask >> cq->vector & 1) &&
	       atomic_load(&cq->head) != atomic_load(&cq->tail);
}

void nvme_intx_update(struct nvme *n, bool dev_locked)
{
	bool level = false;

	pthread_mutex_lock(&n->intx_lock);
	for (unsigned i = 0; i <= n->nqueues && !pci_msix_enabled(n->f); i++)
		level |= wants_intx(n, &n->cq[i]);
	if (dev_locked)
		pci_intx(n->f, level);
	else if (atomic_load(&n->f->intx) != level)
		pci_intx_later(n->f, level);
	pthread_mutex_unlock(&n->intx_lock);
}

void nvme_interrupt(struct nvme *n, struct nvme_cq *cq, bool dev_locked)
{
	if (!cq->interrupts)
		return;
	if (pci_msix_enabled(n->f))
		pci_msix_raise(n->f, cq->vector);
	else
		nvme_intx_update(n, dev_locked);
}

/* ---- queues ---- */

static uint16_t after(uint16_t at, uint16_t size)
{
	return at + 1 == size ? 0 : (uint16_t)(at + 1);
}

bool nvme_post(struct nvme_sq *sq, uint16_t cid, uint16_t status, uint32_t result)
{
	struct nvme_cq *cq = sq->cq;
	uint16_t tail, next;
	uint64_t *entry;

	if (!nvme_may_dma(sq->n))
		return false;
	pthread_mutex_lock(&cq->lock);
	tail = atomic_load(&cq->tail);
	next = after(tail, cq->size);
	if (next == atomic_load(&cq->head)) {
		atomic_store(&cq->full, true);
		if (next == atomic_load(&cq->head)) { /* still, now that the driver's next step will be told us */
			pthread_mutex_unlock(&cq->lock);
			return false;
		}
	}
	entry = (uint64_t *)(cq->entries + tail * NVME_CQ_BYTES);
	__atomic_store_n(&entry[0], result, __ATOMIC_RELAXED);
	/* The phase is the last that the driver may see. */
	__atomic_store_n(&entry[1],
			 sq->head | (uint64_t)sq->id << 16 | (uint64_t)cid << 32 |
				 (uint64_t)((unsigned)status << 1 | cq->phase) << 48,
			 __ATOMIC_RELEASE);
	dma_wrote(sq->n->dma, entry, NVME_CQ_BYTES);
	if (next == 0)
		cq->phase = !cq->phase;
	atomic_store(&cq->tail, next);
	pthread_mutex_unlock(&cq->lock);
	return true;
}

uint16_t nvme_cq_open(struct nvme *n, unsigned id, uint64_t gpa, unsigned entries, bool interrupts, uint16_t vector)
{
	struct nvme_cq *cq = &n->cq[id];

	cq->entries = dma_at(n->dma, gpa, entries * NVME_CQ_BYTES);
	if (!cq->entries)
		return NVME_BAD_FIELD;
	cq->size = (uint16_t)entries;
	cq->phase = true;
	pthread_mutex_lock(&n->intx_lock);
	cq->interrupts = interrupts;
	cq->vector = vector;
	pthread_mutex_unlock(&n->intx_lock);
	cq->live = true;
	return NVME_OK;
}

void nvme_cq_close(struct nvme *n, unsigned id)
{
	struct nvme_cq *cq = &n->cq[id];

	cq->live = false;
	cq->users = 0;
	atomic_store(&cq->head, 0);
	atomic_store(&cq->tail, 0);
	atomic_store(&cq->full, false);
}

uint16_t nvme_sq_open(struct nvme *n, unsigned id, uint64_t gpa, unsigned entries, struct nvme_cq *cq)
{
	struct nvme_sq *sq = &n->sq[id];

	sq->entries = dma_at(n->dma, gpa, entries * NVME_SQ_BYTES);
	if (!sq->entries)
		return NVME_BAD_FIELD;
	sq->size = (uint16_t)entries;
	sq->head = 0;
	atomic_store(&sq->tail, 0);
	sq->cq = cq;
	sq->live = true;
	cq->users++;
	if (sq->worker)
		worker_start(sq->worker);
	return NVME_OK;
}

void nvme_sq_close(struct nvme *n, unsigned id)
{
	struct nvme_sq *sq = &n->sq[id];

	if (sq->worker) {
		worker_stop(sq->worker);
		nvme_io_forget(sq);
	}
	sq->live = false;
	sq->cq->users--;
}

/* ---- life ---- */

static void close_all(struct nvme *n)
{
	worker_stop(n->shutdown);
	for (unsigned i = n->nqueues + 1; i--;)
		if (n->sq[i].live)
			nvme_sq_close(n, i);
	for (unsigned i = n->nqueues + 1; i--;)
		nvme_cq_close(n, i);
	nvme_admin_reset(n);
	n->csts = 0;
	atomic_store(&n->flushed, false);
}

static void stop(struct nvme *n)
{
	close_all(n);
	nvme_intx_update(n, true);
}

/* 7.6.1: what the admin queue's registers say has to be right, and so has CC. */
static void enable(struct nvme *n)
{
	unsigned asq = (n->aqa & 0xfff) + 1, acq = (n->aqa >> 16 & 0xfff) + 1;

	stop(n); /* a shutdown before this may still be under way */
	if ((n->cc & CC_UNKNOWN) || asq < 2 || acq < 2 || n->asq % NVME_PAGE || n->acq % NVME_PAGE ||
	    nvme_cq_open(n, 0, n->acq, acq, true, 0) != NVME_OK) {
		n->csts |= CSTS_CFS;
		return;
	}
	if (nvme_sq_open(n, 0, n->asq, asq, &n->cq[0]) != NVME_OK) {
		nvme_cq_close(n, 0);
		n->csts |= CSTS_CFS;
		return;
	}
	n->csts |= CSTS_RDY;
}

static bool shutdown_run(void *ctx, const struct pollfd *p, unsigned k)
{
	struct nvme *n = ctx;
	const struct blk_request flush = {.op = BLK_FLUSH};

	(void)p, (void)k;
	if (!atomic_load(&n->flushed))
		blk_image_do(n->image, &flush);
	atomic_store(&n->flushed, true);
	return false;
}

static const struct worker_ops shutdown_ops = {.run = shutdown_run};

static void write_cc(struct nvme *n, uint32_t val)
{
	uint32_t old = n->cc;

	n->cc = val & CC_WRITABLE;
	if ((old & CC_EN) && !(val & CC_EN))
		stop(n);
	else if (!(old & CC_EN) && (val & CC_EN))
		enable(n);
	if (CC_SHN(val) && !(n->csts & CSTS_SHST)) {
		n->csts |= CSTS_SHUTTING;
		worker_start(n->shutdown);
	}
}

static uint32_t read_csts(struct nvme *n)
{
	if ((n->csts & CSTS_SHUTTING) && atomic_load(&n->flushed))
		n->csts = (n->csts & ~CSTS_SHST) | CSTS_SHUT;
	return n->csts;
}

/* ---- doorbells ---- */

static void submit(struct nvme *n, unsigned id, uint32_t val)
{
	struct nvme_sq *sq = &n->sq[id];

	if (!sq->live || val >= sq->size) {
		nvme_error_event(n, sq->live ? EVENT_BAD_VALUE : EVENT_BAD_DOORBELL);
		return;
	}
	atomic_store_explicit(&sq->tail, (uint16_t)val, memory_order_release);
	if (sq->worker)
		worker_kick(sq->worker);
	else
		nvme_admin_run(n);
}

static void kick_all(struct nvme *n)
{
	for (unsigned i = 1; i <= n->nqueues; i++)
		if (n->sq[i].live)
			worker_kick(n->sq[i].worker);
	nvme_admin_run(n);
}

/* The driver may give back what it has read: from head to tail, both ends included. */
static bool is_read(const struct nvme_cq *cq, uint32_t val)
{
	uint16_t head = atomic_load(&cq->head), tail = atomic_load(&cq->tail);

	return val < cq->size && (head <= tail ? val >= head && val <= tail : val >= head || val <= tail);
}

static void release(struct nvme *n, unsigned id, uint32_t val)
{
	struct nvme_cq *cq = &n->cq[id];

	if (!cq->live || !is_read(cq, val)) {
		nvme_error_event(n, cq->live ? EVENT_BAD_VALUE : EVENT_BAD_DOORBELL);
		return;
	}
	atomic_store(&cq->head, (uint16_t)val);
	if (!pci_msix_enabled(n->f))
		nvme_intx_update(n, true);
	if (id == 0)
		nvme_admin_run(n);
	else if (atomic_exchange(&cq->full, false))
		kick_all(n);
}

static void doorbell(struct nvme *n, uint64_t off, uint32_t val)
{
	unsigned id = (unsigned)(off / DOORBELL_BYTES);

	if (!(n->csts & CSTS_RDY) || off % 4)
		return;
	if (id > n->nqueues)
		nvme_error_event(n, EVENT_BAD_DOORBELL);
	else if (off % DOORBELL_BYTES)
		release(n, id, val);
	else
		submit(n, id, val);
}

/* ---- registers ---- */

static uint64_t regs_read(void *dev, uint64_t off, unsigned size)
{
	struct nvme *n = dev;
	uint8_t image[REG_END + 8] = {0};
	const struct {
		enum reg off;
		unsigned bytes;
		uint64_t val;
	} regs[] = {
		{REG_CAP, 8, CAP},
		{REG_VS, 4, NVME_VERSION},
		{REG_INTMS, 4, n->intx_mask},
		{REG_INTMC, 4, n->intx_mask},
		{REG_CC, 4, n->cc},
		{REG_CSTS, 4, read_csts(n)},
		{REG_AQA, 4, n->aqa},
		{REG_ASQ, 8, n->asq},
		{REG_ACQ, 8, n->acq},
	};
	uint64_t val = 0;

	if (off >= REG_END)
		return 0;
	for (unsigned i = 0; i < ARRAY_LEN(regs); i++)
		memcpy(image + regs[i].off, &regs[i].val, regs[i].bytes);
	memcpy(&val, image + off, size);
	return val;
}

static void write_half(uint64_t *reg, bool high, uint32_t val)
{
	unsigned shift = high ? 32 : 0;

	*reg = (*reg & ~(0xffffffffull << shift)) | (uint64_t)val << shift;
}

static void write_mask(struct nvme *n, uint32_t set, uint32_t clear)
{
	pthread_mutex_lock(&n->intx_lock);
	n->intx_mask = (n->intx_mask | set) & ~clear;
	pthread_mutex_unlock(&n->intx_lock);
	nvme_intx_update(n, true);
}

static void write_reg(struct nvme *n, uint64_t off, uint32_t val)
{
	switch (off) {
	case REG_INTMS:
		write_mask(n, val, 0);
		break;
	case REG_INTMC:
		write_mask(n, 0, val);
		break;
	case REG_CC:
		write_cc(n, val);
		break;
	case REG_AQA:
		n->aqa = val & 0x0fff0fff;
		break;
	case REG_ASQ:
	case REG_ASQ + 4:
		write_half(&n->asq, off != REG_ASQ, val);
		break;
	case REG_ACQ:
	case REG_ACQ + 4:
		write_half(&n->acq, off != REG_ACQ, val);
		break;
	}
}

/* Aligned words and pairs of words are what software may write (3.1). */
static void regs_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct nvme *n = dev;

	if (size < 4 || off % 4)
		return;
	for (unsigned i = 0; i < size; i += 4)
		if (off + i >= DOORBELLS)
			doorbell(n, off + i - DOORBELLS, (uint32_t)(val >> 8 * i));
		else
			write_reg(n, off + i, (uint32_t)(val >> 8 * i));
}

static const struct io_ops regs_ops = {"nvme", regs_read, regs_write};

/* ---- the function ---- */

static void config_written(struct pci_function *f, unsigned off, unsigned size)
{
	struct nvme *n = f->dev;

	/* Doorbells that came while the controller might not access memory have found nothing. */
	if (off <= PCI_COMMAND && off + size > PCI_COMMAND && nvme_may_dma(n))
		kick_all(n);
	if (f->msix_cap && off < f->msix_cap + 4 && off + size > f->msix_cap)
		nvme_intx_update(n, true);
}

static void reset(struct pci_function *f)
{
	struct nvme *n = f->dev;

	stop(n);
	n->cc = n->aqa = 0;
	n->asq = n->acq = 0;
	n->intx_mask = 0;
}

static void nvme_free(struct nvme *n)
{
	if (n->shutdown)
		close_all(n);
	worker_free(n->shutdown);
	for (unsigned i = 1; i <= n->nqueues; i++)
		nvme_io_free(&n->sq[i]);
	for (unsigned i = 0; i <= NVME_QUEUES_MAX; i++)
		pthread_mutex_destroy(&n->cq[i].lock);
	pthread_mutex_destroy(&n->intx_lock);
	blk_image_close(n->image);
	free(n);
}

static void free_function(struct pci_function *f)
{
	nvme_free(f->dev);
}

static const struct pci_ops pci_ops = {.config_written = config_written, .reset = reset, .free = free_function};

static enum status start_workers(struct nvme *n, unsigned queues, struct error *e)
{
	enum status st = ST_OK;

	while (st == ST_OK && n->nqueues < queues && n->nqueues < NVME_QUEUES_MAX)
		st = nvme_io_new(n, ++n->nqueues, e);
	if (st == ST_OK && !(n->shutdown = worker_new("nvme", &shutdown_ops, n, e)))
		st = ST_NO_MEMORY;
	return st;
}

struct pci_function *nvme_new(const struct nvme_config *cfg, const struct dma *dma, struct error *e)
{
	struct nvme *n = calloc(1, sizeof(*n));
	struct pci_function *f;

	if (!n) {
		blk_image_close(cfg->image);
		error_set(e, ST_NO_MEMORY, "out of memory");
		return NULL;
	}
	n->image = cfg->image;
	n->dma = dma;
	n->index = cfg->index;
	memcpy(n->serial, cfg->serial, strnlen(cfg->serial, sizeof(n->serial)));
	n->block_bits = (unsigned)__builtin_ctz(blk_image_block(n->image));
	n->blocks = blk_image_bytes(n->image) >> n->block_bits;
	n->has_cache = blk_image_flushes(n->image);
	pthread_mutex_init(&n->intx_lock, NULL);
	for (unsigned i = 0; i <= NVME_QUEUES_MAX; i++) {
		n->sq[i].n = n;
		n->sq[i].id = (uint16_t)i;
		pthread_mutex_init(&n->cq[i].lock, NULL);
	}
	n->f = f = pci_function_new(&pci_ops, n, NVME_VENDOR, NVME_DEVICE, CLASS_NVME);
	if (!f) {
		error_set(e, ST_NO_MEMORY, "no memory for a PCI device");
		nvme_free(n);
		return NULL;
	}
	if (start_workers(n, cfg->queues, e) != ST_OK) {
		pci_function_free(f);
		return NULL;
	}
	nvme_admin_reset(n);
	pci_set16(f, PCI_SUBSYSTEM_VENDOR, NVME_VENDOR);
	pci_set16(f, PCI_SUBSYSTEM, NVME_DEVICE);
	pci_wants_intx(f);
	pci_bar(f, BAR_REGS, PCI_BAR_MEM64, BAR_BYTES, &regs_ops, n);
	pci_msix(f, BAR_MSIX, n->nqueues + 1);
	pci_express(f);
	return f;
}
