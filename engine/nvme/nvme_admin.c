// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The admin queue (NVM Express 1.4, chapter 5). Its commands are done at once, on the vCPU that rings the doorbell, under the
 * device lock: they are short, but for the deletion of a queue, which waits for the disk as a reset does.
 *
 * Asynchronous events: the driver leaves requests here; what it wrote into doorbells that makes no sense answers one.
 */
#include <string.h>

#include "engine/nvme/nvme_int.h"

enum {
	ADM_DELETE_SQ = 0x00,
	ADM_CREATE_SQ = 0x01,
	ADM_LOG_PAGE = 0x02,
	ADM_DELETE_CQ = 0x04,
	ADM_CREATE_CQ = 0x05,
	ADM_IDENTIFY = 0x06,
	ADM_ABORT = 0x08,
	ADM_SET_FEATURES = 0x09,
	ADM_GET_FEATURES = 0x0a,
	ADM_EVENT = 0x0c,
};
enum { LOG_ERRORS = 1, LOG_HEALTH = 2, LOG_FIRMWARE = 3 };
#define LOG_BYTES 512u /* the longest */
#define LOG_RETAIN (1u << 15)
#define QUEUE_CONTIGUOUS 1u
#define QUEUE_INTERRUPTS 2u
#define EVENT_ERROR_LOG (LOG_ERRORS << 16)
#define CC_SIZES(cc) ((cc) >> 16 & 0xff)
#define CC_SIZES_OURS 0x46u /* completion entries of 2^4 bytes, submission entries of 2^6 */
#define NO_ANSWER 0xffffu   /* the command stays: an event will answer it */
#define SAVE (1u << 31)

/* ---- queues ---- */

static uint16_t create_cq(struct nvme *n, const struct nvme_command *c)
{
	unsigned id = c->cdw10 & 0xffff, entries = (c->cdw10 >> 16) + 1, vector = c->cdw11 >> 16;

	if (id < 1 || id > n->nqueues || n->cq[id].live)
		return NVME_BAD_QID;
	if (entries < 2 || entries > NVME_ENTRIES_MAX)
		return NVME_BAD_QUEUE_SIZE;
	if (vector > n->nqueues)
		return NVME_BAD_VECTOR;
	if (c->prp1 % NVME_PAGE)
		return NVME_PRP_OFFSET;
	if (!(c->cdw11 & QUEUE_CONTIGUOUS) || CC_SIZES(n->cc) != CC_SIZES_OURS)
		return NVME_BAD_FIELD;
	return nvme_cq_open(n, id, c->prp1, entries, c->cdw11 & QUEUE_INTERRUPTS, (uint16_t)vector);
}

static uint16_t create_sq(struct nvme *n, const struct nvme_command *c)
{
	unsigned id = c->cdw10 & 0xffff, entries = (c->cdw10 >> 16) + 1, cq = c->cdw11 >> 16;

	if (cq < 1 || cq > n->nqueues || !n->cq[cq].live)
		return NVME_BAD_CQ;
	if (id < 1 || id > n->nqueues || n->sq[id].live)
		return NVME_BAD_QID;
	if (entries < 2 || entries > NVME_ENTRIES_MAX)
		return NVME_BAD_QUEUE_SIZE;
	if (c->prp1 % NVME_PAGE)
		return NVME_PRP_OFFSET;
	if (!(c->cdw11 & QUEUE_CONTIGUOUS) || CC_SIZES(n->cc) != CC_SIZES_OURS)
		return NVME_BAD_FIELD;
	return nvme_sq_open(n, id, c->prp1, entries, &n->cq[cq]);
}

static uint16_t delete_sq(struct nvme *n, const struct nvme_command *c)
{
	unsigned id = c->cdw10 & 0xffff;

	if (id < 1 || id > n->nqueues || !n->sq[id].live)
		return NVME_BAD_QID;
	nvme_sq_close(n, id);
	return NVME_OK;
}

static uint16_t delete_cq(struct nvme *n, const struct nvme_command *c)
{
	unsigned id = c->cdw10 & 0xffff;

	if (id < 1 || id > n->nqueues || !n->cq[id].live)
		return NVME_BAD_QID;
	if (n->cq[id].users)
		return NVME_BAD_QUEUE_DELETION;
	nvme_cq_close(n, id);
	nvme_intx_update(n, true);
	return NVME_OK;
}

/* ---- features (5.21) ---- */

static const struct feature {
	uint8_t id;
	uint32_t initial, writable;
} features[NVME_FEATURES] = {
	[FEAT_ARBITRATION] = {0x01, 0x7, 0xffffff07},
	[FEAT_POWER] = {0x02, 0, 0}, /* there is one power state */
	[FEAT_TEMPERATURE] = {0x04, 343, 0x3fffff},
	[FEAT_RECOVERY] = {0x05, 0, 0xffff},
	[FEAT_CACHE] = {0x06, 1, 1},
	[FEAT_QUEUES] = {0x07, 0, 0},
	[FEAT_COALESCING] = {0x08, 0, 0xffff},
	[FEAT_VECTOR] = {0x09, 0, 0},
	[FEAT_ATOMICITY] = {0x0a, 0, 1},
	[FEAT_EVENTS] = {0x0b, 0, 0xff},
};

static enum nvme_feature feature_of(const struct nvme *n, uint8_t id)
{
	unsigned i = 0;

	while (i < NVME_FEATURES && features[i].id != id)
		i++;
	return i == FEAT_CACHE && !n->has_cache ? NVME_FEATURES : i;
}

/* What Get Features answers, and Set Features for the queues. */
static uint32_t feature_value(const struct nvme *n, enum nvme_feature i, uint32_t cdw11)
{
	if (i == FEAT_QUEUES)
		return (n->nqueues - 1) * 0x10001u;
	return i == FEAT_VECTOR ? cdw11 & 0xffff : n->feature[i];
}

static uint16_t set_feature(struct nvme *n, const struct nvme_command *c, uint32_t *result)
{
	enum nvme_feature i = feature_of(n, (uint8_t)c->cdw10);
	uint32_t val = c->cdw11;

	if (i == NVME_FEATURES)
		return NVME_BAD_FIELD;
	if (c->cdw10 & SAVE)
		return NVME_NOT_SAVEABLE;
	if ((i == FEAT_QUEUES && ((val & 0xffff) == 0xffff || val >> 16 == 0xffff)) ||
	    (i == FEAT_POWER && (val & 0x1f)) || (i == FEAT_VECTOR && (val & 0xffff) > n->nqueues))
		return NVME_BAD_FIELD;
	n->feature[i] = (n->feature[i] & ~features[i].writable) | (val & features[i].writable);
	atomic_store(&n->cached, n->has_cache && n->feature[FEAT_CACHE]);
	if (i == FEAT_QUEUES)
		*result = feature_value(n, i, 0);
	return NVME_OK;
}

static uint16_t get_feature(struct nvme *n, const struct nvme_command *c, uint32_t *result)
{
	enum nvme_feature i = feature_of(n, (uint8_t)c->cdw10);

	if (i == NVME_FEATURES || (i == FEAT_VECTOR && (c->cdw11 & 0xffff) > n->nqueues))
		return NVME_BAD_FIELD;
	*result = feature_value(n, i, c->cdw11);
	return NVME_OK;
}

/* ---- events and logs (5.2, 5.14) ---- */

static bool post(struct nvme *n, uint16_t cid, uint16_t status, uint32_t result)
{
	if (!nvme_post(&n->sq[0], cid, status, result))
		return false;
	nvme_interrupt(n, &n->cq[0], true);
	return true;
}

static void tell_event(struct nvme *n)
{
	if (n->event && n->naers && !n->event_masked && post(n, n->aer[n->naers - 1], NVME_OK, n->event)) {
		n->naers--;
		n->event = 0;
		n->event_masked = true;
	}
}

void nvme_error_event(struct nvme *n, uint8_t info)
{
	n->errors++;
	if (!n->event)
		n->event = EVENT_ERROR_LOG | (uint32_t)info << 8;
	if (nvme_may_dma(n))
		tell_event(n);
}

static uint16_t take_event_request(struct nvme *n, const struct nvme_command *c)
{
	if (n->naers == NVME_AER_MAX)
		return NVME_TOO_MANY_AERS;
	n->aer[n->naers++] = c->cid;
	return NO_ANSWER;
}

static void put64(uint8_t *buf, unsigned off, uint64_t val)
{
	memcpy(buf + off, &val, sizeof(val));
}

static void health(const struct nvme *n, uint8_t *buf)
{
	uint64_t reads = 0, writes = 0, read_blocks = 0, written_blocks = 0;

	for (unsigned i = 1; i <= n->nqueues; i++) {
		reads += atomic_load(&n->sq[i].reads);
		writes += atomic_load(&n->sq[i].writes);
		read_blocks += atomic_load(&n->sq[i].read_blocks);
		written_blocks += atomic_load(&n->sq[i].written_blocks);
	}
	buf[1] = 300 & 0xff; /* kelvin */
	buf[2] = 300 >> 8;
	buf[3] = 100; /* percent of spare that is left, and that is worth a warning */
	buf[4] = 10;
	put64(buf, 32, (read_blocks + 999) / 1000); /* thousands of 512 bytes, rounded up */
	put64(buf, 48, (written_blocks + 999) / 1000);
	put64(buf, 64, reads);
	put64(buf, 80, writes);
	put64(buf, 112, 1); /* power cycles */
}

static uint16_t log_page(struct nvme *n, const struct nvme_command *c)
{
	uint64_t dwords = ((c->cdw10 >> 16) | (uint64_t)(c->cdw11 & 0xffff) << 16) + 1;
	uint64_t off = c->cdw12 | (uint64_t)c->cdw13 << 32;
	uint8_t buf[NVME_PAGE] = {0};
	uint16_t st;

	switch (c->cdw10 & 0xff) {
	case LOG_ERRORS:
		put64(buf, 0, n->errors);
		memset(buf + 8, n->errors ? 0xff : 0, 4); /* of no queue and no command */
		break;
	case LOG_HEALTH:
		if (c->nsid != NVME_NSID_ALL && c->nsid != 0)
			return NVME_BAD_FIELD; /* it is the controller's */
		health(n, buf);
		break;
	case LOG_FIRMWARE:
		buf[0] = 1; /* slot 1 runs */
		memcpy(buf + 8, "1.0     ", 8);
		break;
	default:
		return NVME_BAD_LOG_PAGE;
	}
	if (dwords > NVME_PAGE / 4 || off > LOG_BYTES || off % 4)
		return NVME_BAD_FIELD;
	memmove(buf, buf + off, sizeof(buf) - LOG_BYTES);
	st = nvme_prp_copy(n->dma, c, buf, (uint32_t)dwords * 4, true);
	if (st == NVME_OK && (c->cdw10 & 0xff) == LOG_ERRORS && !(c->cdw10 & LOG_RETAIN))
		n->event_masked = false;
	return st;
}

/* ---- the queue ---- */

static uint16_t identify(struct nvme *n, const struct nvme_command *c)
{
	uint8_t buf[NVME_PAGE];
	uint16_t st = nvme_identify(n, c, buf);

	return st == NVME_OK ? nvme_prp_copy(n->dma, c, buf, sizeof(buf), true) : st;
}

static uint16_t execute(struct nvme *n, const struct nvme_command *c, uint32_t *result)
{
	if (c->flags & 0xc3) /* fused, or data by SGL */
		return NVME_BAD_FIELD;
	switch (c->opcode) {
	case ADM_DELETE_SQ:
		return delete_sq(n, c);
	case ADM_CREATE_SQ:
		return create_sq(n, c);
	case ADM_LOG_PAGE:
		return log_page(n, c);
	case ADM_DELETE_CQ:
		return delete_cq(n, c);
	case ADM_CREATE_CQ:
		return create_cq(n, c);
	case ADM_IDENTIFY:
		return identify(n, c);
	case ADM_ABORT:
		*result = 1; /* it was not aborted: what is with the host cannot be taken back (5.1) */
		return NVME_OK;
	case ADM_SET_FEATURES:
		return set_feature(n, c, result);
	case ADM_GET_FEATURES:
		return get_feature(n, c, result);
	case ADM_EVENT:
		return take_event_request(n, c);
	default:
		return NVME_BAD_OPCODE;
	}
}

static bool room(struct nvme_cq *cq)
{
	uint16_t next = (uint16_t)(atomic_load(&cq->tail) + 1);

	return (next == cq->size ? 0 : next) != atomic_load(&cq->head);
}

/* The device lock makes this the one who posts here; so what has room before a command has it behind it. */
void nvme_admin_run(struct nvme *n)
{
	struct nvme_sq *sq = &n->sq[0];

	if (!sq->live || !nvme_may_dma(n))
		return;
	tell_event(n);
	while (sq->head != atomic_load(&sq->tail) && room(sq->cq)) {
		struct nvme_command c;
		uint32_t result = 0;
		uint16_t st;

		memcpy(&c, sq->entries + sq->head * NVME_SQ_BYTES, sizeof(c));
		sq->head = sq->head + 1 == sq->size ? 0 : sq->head + 1;
		st = execute(n, &c, &result);
		if (st != NO_ANSWER)
			post(n, c.cid, st, result);
	}
	tell_event(n);
}

void nvme_admin_reset(struct nvme *n)
{
	for (unsigned i = 0; i < NVME_FEATURES; i++)
		n->feature[i] = features[i].initial;
	atomic_store(&n->cached, n->has_cache);
	n->naers = 0;
	n->event = 0;
	n->event_masked = false;
}
