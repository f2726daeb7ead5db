/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A PCI bus and the functions on it, as a function sees them (PCI Local Bus 3.0; PCI Express Base 3.1).
 *
 * A function declares its header, its BARs and its capabilities; configuration space, decoding, placement and interrupts
 * are the bus's. A function sees offsets into its BARs, never addresses. What a BAR decodes moves whenever the guest
 * writes the BAR or the command register: the bus keeps the list of what is decoded and looks there at each access, so
 * nothing else has to be told. RAM and the board's own devices always come first; where two BARs overlap, the function
 * with the lower number answers, BAR 0 first.
 *
 * Threads: everything under the machine's device lock, but what says "any thread". pci_msix_raise and pci_intx_later are
 * for workers, which never take the device lock: a reset waits for them while it holds it.
 */
#ifndef STEELYARD_PCI_H
#define STEELYARD_PCI_H

#include <pthread.h>
#include <stdatomic.h>

#include "engine/bus.h"
#include "engine/irq.h"

#define PCI_SLOTS 32u
#define PCI_BARS 6u
#define PCI_CONFIG_BYTES 4096u
#define PCI_INTX_LINES 8u /* a slot's four pins swizzle over these */
#define PCI_MSIX_MAX 64u

/* Configuration registers (PCI 3.0 figure 6-1) */
#define PCI_VENDOR 0x00u
#define PCI_DEVICE 0x02u
#define PCI_COMMAND 0x04u
#define PCI_STATUS 0x06u
#define PCI_REVISION 0x08u
#define PCI_CLASS 0x09u
#define PCI_BAR(n) (0x10u + 4 * (n))
#define PCI_SUBSYSTEM_VENDOR 0x2cu
#define PCI_SUBSYSTEM 0x2eu
#define PCI_CAPABILITIES 0x34u
#define PCI_INTERRUPT_LINE 0x3cu
#define PCI_INTERRUPT_PIN 0x3du

#define PCI_CMD_IO 0x001u
#define PCI_CMD_MEMORY 0x002u
#define PCI_CMD_MASTER 0x004u
#define PCI_CMD_INTX_OFF 0x400u

enum pci_bar_kind { PCI_BAR_NONE, PCI_BAR_IO, PCI_BAR_MEM32, PCI_BAR_MEM64 };

struct pci_function;

struct pci_bar {
	enum pci_bar_kind kind;
	uint64_t bytes; /* a power of two: I/O at least 4, memory at least 16 */
	const struct io_ops *ops;
	void *dev;
};

/* A place in a BAR that is a doorbell (engine/bus.h). */
#define PCI_DOORBELLS 34u
struct pci_doorbell {
	unsigned bar;
	uint32_t off;
	int fd;
};

struct pci_ops {
	/* The function's own registers after a write to configuration space. NULL: none. */
	void (*config_written)(struct pci_function *f, unsigned off, unsigned size);
	/* Reads of configuration space that depend on more than the bytes there: fills them in first. NULL: none. */
	void (*config_reading)(struct pci_function *f, unsigned off, unsigned size);
	/* Power-on or function-level reset: stops what it does, waits for its workers. */
	void (*reset)(struct pci_function *f);
	void (*free)(struct pci_function *f);
};

struct pci_msix_entry {
	uint64_t address;
	uint32_t data, control;
};

struct pci_function {
	const struct pci_ops *ops;
	void *dev;
	struct pci_bus *bus; /* NULL before pci_add */
	unsigned slot;
	uint8_t config[PCI_CONFIG_BYTES], writable[PCI_CONFIG_BYTES],
		clear[PCI_CONFIG_BYTES]; /* clear: write 1 to clear */
	uint8_t initial[PCI_CONFIG_BYTES];
	unsigned config_bytes; /* 256, or 4096 with a PCI Express capability */
	struct pci_bar bar[PCI_BARS];
	struct pci_doorbell doorbell[PCI_DOORBELLS];
	unsigned ndoorbells;
	unsigned cap_end, cap_last,
		express;     /* where the next capability goes; the last one; the express one, 0: none */
	_Atomic bool master; /* may access memory. Any thread reads */
	/* MSI-X. The lock is a leaf but for the local APICs' own. */
	pthread_mutex_t msix_lock;
	unsigned msix_cap, msix_n;
	bool msix_on, msix_masked;
	struct pci_msix_entry msix[PCI_MSIX_MAX];
	uint64_t msix_pending;
	/* INTx: what the function asserts, what the line was last driven to */
	_Atomic bool intx;
	bool intx_driven;
};

/* What one decoded BAR answers to. */
struct pci_window {
	uint64_t base, end; /* end inclusive */
	const struct io_ops *ops;
	void *dev;
};

struct pci_bus_config {
	/* A function's message: any thread */
	void (*msi)(void *ctx, uint64_t address, uint32_t data);
	/* The level of INTx line n (0 to PCI_INTX_LINES - 1) */
	void (*intx)(void *ctx, unsigned n, bool level);
	/* Somebody shall call pci_intx_update under the device lock soon. Any thread */
	void (*intx_wake)(void *ctx);
	/* These are the doorbells that can be reached, from now on. NULL: nobody asks */
	void (*doorbells)(void *ctx, const struct doorbell *list, unsigned n);
	/* What line n is called in the interrupt line register where a firmware has not written it */
	uint8_t (*intx_name)(unsigned n);
	void *ctx;
};

#define PCI_WINDOWS (PCI_SLOTS * PCI_BARS)
struct pci_bus {
	struct pci_bus_config cfg;
	struct pci_function *slot[PCI_SLOTS];
	struct pci_window mem[PCI_WINDOWS], io[PCI_WINDOWS];
	unsigned nmem, nio;
	unsigned intx_count[PCI_INTX_LINES];
	_Atomic bool intx_asked;
	uint64_t ecam_base; /* 0: not decoded; engine/pci/pci_host.c */
	uint64_t ecam_bytes;
};

/* ---- the bus ---- */

void pci_bus_init(struct pci_bus *b, const struct pci_bus_config *cfg);
/* Frees the functions. */
void pci_bus_fini(struct pci_bus *b);
/* Takes over f, which the caller has filled by pci_function_new and what follows it. ST_TOO_BIG: no slot is free.
 * slot: where, or -1 for the first free one from 1 on. Before the machine runs. */
enum status pci_add(struct pci_bus *b, struct pci_function *f, int slot, struct error *e);
void pci_reset(struct pci_bus *b);
/* What a firmware does: gives every BAR an address in these ranges (bases are rounded as the BARs need), lets the functions
 * decode, names their interrupt lines. BARs that do not fit stay off. */
struct pci_ranges {
	uint64_t mem_base, mem_end, io_base, io_end; /* end exclusive */
};
void pci_place(struct pci_bus *b, const struct pci_ranges *r);
/* From the first to the last byte of what BARs decode at or above `from`; 0 and 0: nothing. */
void pci_high_span(const struct pci_bus *b, uint64_t from, uint64_t *first, uint64_t *last);
/* Accesses that nobody else claimed: dev is the bus, off the address. */
extern const struct io_ops pci_mem_ops, pci_io_ops;
/* Configuration cycles. Functions that there are not read as ones. off + size within 4096 and not across a 32-bit word. */
uint32_t pci_config_read(struct pci_bus *b, unsigned bus, unsigned devfn, unsigned off, unsigned size);
void pci_config_write(struct pci_bus *b, unsigned bus, unsigned devfn, unsigned off, unsigned size, uint32_t val);
/* Drives the lines to what the functions assert. */
void pci_intx_update(struct pci_bus *b);
/* Which of the eight lines pin 0-3 (INTA-INTD) of a slot is. */
static inline unsigned pci_intx_line(unsigned slot, unsigned pin)
{
	return (slot + pin) % PCI_INTX_LINES;
}

/* ---- a function, before pci_add ---- */

/* class: base class, subclass, interface in bits 23-0. NULL: no memory. */
struct pci_function *pci_function_new(const struct pci_ops *ops, void *dev, uint16_t vendor, uint16_t device,
				      uint32_t class);
/* Where pci_add did not take it. */
void pci_function_free(struct pci_function *f);
void pci_set16(struct pci_function *f, unsigned off, uint16_t val);
void pci_set32(struct pci_function *f, unsigned off, uint32_t val);
uint16_t pci_get16(const struct pci_function *f, unsigned off);
uint32_t pci_get32(const struct pci_function *f, unsigned off);
void pci_bar(struct pci_function *f, unsigned n, enum pci_bar_kind kind, uint64_t bytes, const struct io_ops *ops,
	     void *dev);
/* A store at off of BAR n, which is memory, does no more than a write to the eventfd would. */
void pci_doorbell(struct pci_function *f, unsigned n, uint32_t off, int fd);
/* A capability of so many bytes, the two of its header among them; returns its offset. */
unsigned pci_capability(struct pci_function *f, uint8_t id, unsigned bytes);
/* The function has INTA. */
void pci_wants_intx(struct pci_function *f);
/* A root complex integrated endpoint with function-level reset (PCI Express 3.1 7.8). */
void pci_express(struct pci_function *f);
/* n vectors (1 to PCI_MSIX_MAX); table at 0 and pending bits at 2048 of BAR n, which becomes 4096 bytes of memory. */
void pci_msix(struct pci_function *f, unsigned bar, unsigned n);

/* ---- interrupts ---- */

static inline bool pci_msix_enabled(const struct pci_function *f)
{
	return __atomic_load_n(&f->msix_on, __ATOMIC_RELAXED);
}
/* Any thread. A vector that there is not is ignored. */
void pci_msix_raise(struct pci_function *f, unsigned vector);
/* Device lock held. */
void pci_intx(struct pci_function *f, bool level);
/* Any thread, the device lock held or not: the line follows soon. */
void pci_intx_later(struct pci_function *f, bool level);

#endif
