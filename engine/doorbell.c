/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/doorbell.h"

static bool has(const struct doorbell *list, unsigned n, const struct doorbell *b)
{
	for (unsigned i = 0; i < n; i++)
		if (list[i].gpa == b->gpa && list[i].fd == b->fd)
			return true;
	return false;
}

static void give_back(struct doorbells *d, unsigned i)
{
	if (d->lent[i])
		d->attach(d->ctx, d->at[i].gpa, d->at[i].fd, false);
	d->lent[i] = false;
}

static void take(struct doorbells *d, unsigned i)
{
	if (d->attach && !d->lent[i])
		d->lent[i] = d->attach(d->ctx, d->at[i].gpa, d->at[i].fd, true);
}

/* Those that go first: another one may come where they were. */
void doorbells_set(struct doorbells *d, const struct doorbell *list, unsigned n)
{
	unsigned left = 0;

	for (unsigned i = 0; i < d->n; i++) {
		if (!has(list, n, &d->at[i])) {
			give_back(d, i);
			continue;
		}
		d->at[left] = d->at[i];
		d->lent[left++] = d->lent[i];
	}
	d->n = left;
	for (unsigned i = 0; i < n && d->n < BUS_MAX_DOORBELLS; i++)
		if (!has(d->at, left, &list[i])) {
			d->at[d->n] = list[i];
			d->lent[d->n] = false;
			take(d, d->n++);
		}
}

void doorbells_lend(struct doorbells *d, doorbell_attach *attach, void *ctx)
{
	for (unsigned i = 0; !attach && i < d->n; i++)
		give_back(d, i);
	d->attach = attach;
	d->ctx = ctx;
	for (unsigned i = 0; i < d->n; i++)
		take(d, i);
}
