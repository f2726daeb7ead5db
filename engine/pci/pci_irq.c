// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * How functions interrupt: MSI-X (PCI 3.0 6.8.2) and INTA.
 *
 * A worker raises a vector without the device lock; the function's own leaf lock keeps it from reading half an entry. A
 * vector that is masked, by its entry or for the whole function, sets its pending bit and goes out when it is unmasked.
 *
 * The level that a function asserts is an atomic word; the wires behind it need the device lock. So a worker stores the
 * level and asks for pci_intx_update, which the I/O thread calls in its next round. Lines are shared: a line is high while
 * any function on it is.
 */
#include <string.h>

#include "engine/pci/pci_int.h"

#define CAP_MSIX 0x11u
#define MSIX_BYTES 12u
#define MSIX_ENABLE 0x8000u
#define MSIX_MASK_ALL 0x4000u
#define ENTRY_BYTES 16u
#define ENTRY_MASKED 1u
#define PBA_OFFSET 2048u
#define TABLE_BAR_BYTES 4096u

_Static_assert(PCI_MSIX_MAX *ENTRY_BYTES <= PBA_OFFSET, "the table ends where the pending bits begin");

/* ---- MSI-X ---- */

/* Sends or remembers. The lock held. */
static void fire(struct pci_function *f, unsigned v)
{
	const struct pci_msix_entry *m = &f->msix[v];

	if (f->msix_masked || (m->control & ENTRY_MASKED)) {
		f->msix_pending |= 1ull << v;
		return;
	}
	f->msix_pending &= ~(1ull << v);
	if (f->bus->cfg.msi && atomic_load_explicit(&f->master, memory_order_relaxed))
		f->bus->cfg.msi(f->bus->cfg.ctx, m->address, m->data);
}

void pci_msix_raise(struct pci_function *f, unsigned vector)
{
	pthread_mutex_lock(&f->msix_lock);
	if (f->msix_on && vector < f->msix_n)
		fire(f, vector);
	pthread_mutex_unlock(&f->msix_lock);
}

static void fire_pending(struct pci_function *f)
{
	for (unsigned v = 0; v < f->msix_n; v++)
		if (f->msix_pending & 1ull << v)
			fire(f, v);
}

void pci_msix_control(struct pci_function *f)
{
	uint16_t control = pci_get16(f, f->msix_cap + 2);

	pthread_mutex_lock(&f->msix_lock);
	__atomic_store_n(&f->msix_on, !!(control & MSIX_ENABLE), __ATOMIC_RELAXED);
	f->msix_masked = control & MSIX_MASK_ALL;
	if (!f->msix_on)
		f->msix_pending = 0;
	else
		fire_pending(f);
	pthread_mutex_unlock(&f->msix_lock);
	pci_intx_update(f->bus); /* a function with MSI-X on drives no line */
}

void pci_msix_reset(struct pci_function *f)
{
	pthread_mutex_lock(&f->msix_lock);
	__atomic_store_n(&f->msix_on, false, __ATOMIC_RELAXED);
	f->msix_masked = false;
	f->msix_pending = 0;
	for (unsigned v = 0; v < f->msix_n; v++)
		f->msix[v] = (struct pci_msix_entry){.control = ENTRY_MASKED};
	pthread_mutex_unlock(&f->msix_lock);
}

static uint64_t table_read(void *dev, uint64_t off, unsigned size)
{
	struct pci_function *f = dev;
	uint64_t val = 0;

	pthread_mutex_lock(&f->msix_lock);
	if (off < PBA_OFFSET && off / ENTRY_BYTES < f->msix_n && off % ENTRY_BYTES + size <= ENTRY_BYTES)
		memcpy(&val, (const uint8_t *)f->msix + off, size);
	else if (off >= PBA_OFFSET && off - PBA_OFFSET < sizeof(f->msix_pending))
		val = f->msix_pending >> 8 * (off - PBA_OFFSET);
	pthread_mutex_unlock(&f->msix_lock);
	return val;
}

/* Aligned words and pairs of words are what software may write (6.8.2). */
static void table_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct pci_function *f = dev;
	unsigned v = (unsigned)(off / ENTRY_BYTES);

	if (v >= f->msix_n || off >= PBA_OFFSET || size < 4 || off % size)
		return;
	pthread_mutex_lock(&f->msix_lock);
	memcpy((uint8_t *)f->msix + off, &val, size);
	f->msix[v].address &= ~3ull;
	f->msix[v].control &= ENTRY_MASKED;
	if (f->msix_pending & 1ull << v)
		fire(f, v);
	pthread_mutex_unlock(&f->msix_lock);
}

static const struct io_ops msix_ops = {"msi-x table", table_read, table_write};

void pci_msix(struct pci_function *f, unsigned bar, unsigned n)
{
	unsigned at = pci_capability(f, CAP_MSIX, MSIX_BYTES);

	BUG_ON(n < 1 || n > PCI_MSIX_MAX);
	_Static_assert(sizeof(struct pci_msix_entry) == ENTRY_BYTES, "an entry as the guest sees it");
	f->msix_cap = at;
	f->msix_n = n;
	pci_set16(f, at + 2, (uint16_t)(n - 1));
	pci_set32(f, at + 4, bar);
	pci_set32(f, at + 8, PBA_OFFSET | bar);
	f->writable[at + 3] = (MSIX_ENABLE | MSIX_MASK_ALL) >> 8;
	pci_bar(f, bar, PCI_BAR_MEM32, TABLE_BAR_BYTES, &msix_ops, f);
	pci_msix_reset(f);
}

/* ---- INTx ---- */

static void drive(struct pci_bus *b, struct pci_function *f)
{
	bool level = atomic_load(&f->intx) && !f->msix_on && !(pci_get16(f, PCI_COMMAND) & PCI_CMD_INTX_OFF);
	unsigned line = pci_intx_line(f->slot, 0);

	if (level == f->intx_driven)
		return;
	f->intx_driven = level;
	b->intx_count[line] += level ? 1 : -1u;
	if (b->cfg.intx && b->intx_count[line] == level) /* the first that rises, the last that falls */
		b->cfg.intx(b->cfg.ctx, line, level);
}

void pci_intx_update(struct pci_bus *b)
{
	atomic_store(&b->intx_asked, false);
	for (unsigned s = 0; s < PCI_SLOTS; s++)
		if (b->slot[s])
			drive(b, b->slot[s]);
}

void pci_intx(struct pci_function *f, bool level)
{
	atomic_store(&f->intx, level);
	if (f->bus)
		drive(f->bus, f);
}

void pci_intx_later(struct pci_function *f, bool level)
{
	atomic_store(&f->intx, level);
	if (!atomic_exchange(&f->bus->intx_asked, true) && f->bus->cfg.intx_wake)
		f->bus->cfg.intx_wake(f->bus->cfg.ctx);
}
