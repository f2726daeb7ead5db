/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of the NVMe controller share. Names and figures are those of NVM Express 1.4.
 *
 * Who touches what: registers, doorbells and the admin queue are the business of whoever holds the device lock, at once, on
 * the vCPU that wrote. Each I/O submission queue is a worker's from its creation to its deletion. Between them are
 * atomics (tail of a submission queue, head of a completion queue), the lock of a completion queue, for several submission
 * queues may share one, and intx_lock.
 */
#ifndef STEELYARD_NVME_INT_H
#define STEELYARD_NVME_INT_H

#include <pthread.h>
#include <stdatomic.h>

#include "engine/nvme/nvme.h"
#include "engine/worker.h"

#define NVME_VERSION 0x00010400u
#define NVME_VENDOR 0x5359u /* of nobody: drivers go by the class */
#define NVME_DEVICE 0x0001u
#define NVME_PAGE 4096u
#define NVME_MDTS 7u /* the most that one command moves: 2^7 pages */
#define NVME_TRANSFER_MAX (NVME_PAGE << NVME_MDTS)
#define NVME_PIECES_MAX ((1u << NVME_MDTS) + 1)
#define NVME_ENTRIES_MAX 1024u /* of an I/O queue */
#define NVME_SQ_BYTES 64u
#define NVME_CQ_BYTES 16u
#define NVME_QUEUES_MAX 8u /* pairs for I/O */
#define NVME_DEPTH 128u    /* commands under way in one I/O queue */
#define NVME_RANGES_MAX 256u
#define NVME_AER_MAX 4u
#define NVME_NSID 1u
#define NVME_NSID_ALL 0xffffffffu

/* Status (4.6.1): bits 7-0 the code, 10-8 its type, 14 do not retry. What a second try would not change says so. */
#define NVME_DNR 0x4000u
enum nvme_status {
	NVME_OK = 0,
	NVME_BAD_OPCODE = NVME_DNR | 0x001,
	NVME_BAD_FIELD = NVME_DNR | 0x002,
	NVME_DATA_TRANSFER = NVME_DNR | 0x004,
	NVME_INTERNAL = NVME_DNR | 0x006,
	NVME_BAD_NAMESPACE = NVME_DNR | 0x00b,
	NVME_PRP_OFFSET = NVME_DNR | 0x013,
	NVME_WRITE_PROTECTED = NVME_DNR | 0x020,
	NVME_LBA_RANGE = NVME_DNR | 0x080,
	NVME_BAD_CQ = NVME_DNR | 0x100,
	NVME_BAD_QID = NVME_DNR | 0x101,
	NVME_BAD_QUEUE_SIZE = NVME_DNR | 0x102,
	NVME_TOO_MANY_AERS = NVME_DNR | 0x105,
	NVME_BAD_VECTOR = NVME_DNR | 0x108,
	NVME_BAD_LOG_PAGE = NVME_DNR | 0x109,
	NVME_BAD_QUEUE_DELETION = NVME_DNR | 0x10c,
	NVME_NOT_SAVEABLE = NVME_DNR | 0x10d,
	NVME_WRITE_FAULT = NVME_DNR | 0x280,
	NVME_READ_ERROR = NVME_DNR | 0x281,
};

struct nvme_command {
	uint8_t opcode, flags;
	uint16_t cid;
	uint32_t nsid, cdw2, cdw3;
	uint64_t mptr, prp1, prp2;
	uint32_t cdw10, cdw11, cdw12, cdw13, cdw14, cdw15;
};
_Static_assert(sizeof(struct nvme_command) == NVME_SQ_BYTES, "a command as the driver writes it");

struct nvme;
struct nvme_request;

struct nvme_cq {
	bool live;            /* device lock */
	unsigned users;       /* submission queues that answer here; device lock */
	bool interrupts;      /* intx_lock to change it */
	uint16_t vector;      /* as well */
	pthread_mutex_t lock; /* entries, phase; a leaf */
	uint8_t *entries;
	uint16_t size;
	bool phase;
	_Atomic uint16_t head, tail; /* head: the driver's; tail: written under lock */
	_Atomic bool full;           /* somebody waits for head to move */
};

struct nvme_sq {
	struct nvme *n;
	uint16_t id;
	bool live; /* device lock */
	uint8_t *entries;
	uint16_t size, head;
	_Atomic uint16_t tail; /* the driver's */
	struct nvme_cq *cq;
	/* I/O queues: the worker's, and from creation to end of the machine */
	struct worker *worker;
	struct blk_queue *blk;
	struct nvme_request *pool, *free, *done, **done_end; /* done: waits for room in the completion queue */
	unsigned used;                                       /* of the pool: the rest has never been touched */
	_Atomic uint64_t reads, writes, read_blocks, written_blocks;
};

enum nvme_feature {
	FEAT_ARBITRATION,
	FEAT_POWER,
	FEAT_TEMPERATURE,
	FEAT_RECOVERY,
	FEAT_CACHE,
	FEAT_QUEUES,
	FEAT_COALESCING,
	FEAT_VECTOR,
	FEAT_ATOMICITY,
	FEAT_EVENTS,
	NVME_FEATURES
};

struct nvme {
	struct pci_function *f;
	const struct dma *dma;
	struct blk_image *image;
	char serial[NVME_SERIAL];
	unsigned index, nqueues, block_bits;
	uint64_t blocks;
	bool has_cache;
	/* registers; device lock */
	uint32_t cc, csts, aqa;
	uint64_t asq, acq;
	_Atomic bool flushed; /* of a shutdown */
	struct worker *shutdown;
	/* queues: 0 is admin */
	struct nvme_sq sq[1 + NVME_QUEUES_MAX];
	struct nvme_cq cq[1 + NVME_QUEUES_MAX];
	pthread_mutex_t intx_lock; /* intx_mask; what the line shall be. Before the locks of the wires */
	uint32_t intx_mask;
	/* features and events; device lock */
	uint32_t feature[NVME_FEATURES];
	_Atomic bool cached; /* writes need not be on the medium when they are done */
	uint16_t aer[NVME_AER_MAX];
	unsigned naers;
	uint32_t event;    /* waits for a request; 0: none */
	bool event_masked; /* told, and its log page not read since */
	uint64_t errors;
};

/* ---- nvme.c ---- */

/* May memory be touched now? Any thread */
static inline bool nvme_may_dma(const struct nvme *n)
{
	return atomic_load_explicit(&n->f->master, memory_order_relaxed);
}
/* false: there is no room; `full` is set, and the queue's submission queues run again when there is. The owner of sq. */
bool nvme_post(struct nvme_sq *sq, uint16_t cid, uint16_t status, uint32_t result);
/* Tells the driver of what has been posted. dev_locked: by the holder of the device lock, else a worker */
void nvme_interrupt(struct nvme *n, struct nvme_cq *cq, bool dev_locked);
/* Drives INTA as the completion queues are. dev_locked as above. */
void nvme_intx_update(struct nvme *n, bool dev_locked);
/* A queue's memory and place in the table. NVME_BAD_FIELD: it is not all RAM. Device lock. */
uint16_t nvme_cq_open(struct nvme *n, unsigned id, uint64_t gpa, unsigned entries, bool interrupts, uint16_t vector);
void nvme_cq_close(struct nvme *n, unsigned id);
uint16_t nvme_sq_open(struct nvme *n, unsigned id, uint64_t gpa, unsigned entries, struct nvme_cq *cq);
/* Waits for the commands under way. */
void nvme_sq_close(struct nvme *n, unsigned id);

/* ---- nvme_admin.c; device lock ---- */

/* Does what is in the admin queue. */
void nvme_admin_run(struct nvme *n);
void nvme_admin_reset(struct nvme *n);
/* An error event (5.2): info is its code in figure 147. */
void nvme_error_event(struct nvme *n, uint8_t info);

/* ---- nvme_identify.c; device lock ---- */

/* The 4096 bytes that Identify answers with. */
uint16_t nvme_identify(const struct nvme *n, const struct nvme_command *c, uint8_t *buf);

/* ---- nvme_io.c ---- */

enum status nvme_io_new(struct nvme *n, unsigned id, struct error *e);
void nvme_io_free(struct nvme_sq *sq);
/* After the worker has stopped: what found no room any more is forgotten. */
void nvme_io_forget(struct nvme_sq *sq);

/* ---- nvme_prp.c; any thread ---- */

/* The pieces of RAM that a pair of PRP entries means (4.3), at most max. */
uint16_t nvme_prp_map(const struct dma *dma, const struct nvme_command *c, uint32_t bytes, struct iovec *iov,
		      unsigned max, unsigned *n);
/* At most a page's worth, between buf and the driver's memory. */
uint16_t nvme_prp_copy(const struct dma *dma, const struct nvme_command *c, void *buf, uint32_t bytes, bool to_guest);

#endif
