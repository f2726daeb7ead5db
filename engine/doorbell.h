/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Doorbells: registers to which a store only wakes a device's thread (struct doorbell, engine/bus.h). A path that can may turn the
 * store into a write to the eventfd, without leaving the guest. The register stays what it is: a store that comes the long way
 * is the device's as ever, so a path loses nothing by not taking a doorbell.
 *
 * The board says where they are (doorbells_set), whenever the guest moves them; a path takes them while it is on (doorbells_lend).
 * Device lock held.
 */
#ifndef STEELYARD_DOORBELL_H
#define STEELYARD_DOORBELL_H

#include "engine/bus.h"

/* From now on, or no longer: a store of any size at gpa is a write to fd. false: it is not. vCPUs may run. */
typedef bool doorbell_attach(void *ctx, uint64_t gpa, int fd, bool on);

struct doorbells {
	struct doorbell at[BUS_MAX_DOORBELLS];
	bool lent[BUS_MAX_DOORBELLS]; /* the path has taken it */
	unsigned n;
	doorbell_attach *attach; /* NULL: nobody takes them */
	void *ctx;
};

/* These are all, at different addresses. */
void doorbells_set(struct doorbells *d, const struct doorbell *list, unsigned n);
/* attach gets those that there are and those that come; NULL: those that were taken are given back. Again with the same: nothing. */
void doorbells_lend(struct doorbells *d, doorbell_attach *attach, void *ctx);

#endif
