/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzz target: what reads files of strangers - the loaders and the unpacker. The first byte says which of them gets the
 * rest as its file; a machine of memory, CPUID and one vCPU is all that they need. A file is loaded, or refused with one
 * line of text; what is loaded is entered inside of 4 GiB.
 */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/load/boot.h"
#include "engine/load/loader.h"
#include "engine/vm.h"
#include "tests/fuzz/fuzz.h"

enum kind {
	KIND_KERNEL,
	KIND_KERNEL_INITRD,
	KIND_MULTIBOOT,
	KIND_MULTIBOOT_MODULE,
	KIND_ROM,
	KIND_FLAT,
	KIND_UNPACK,
	KIND_COUNT
};

#define MEMORY_BYTES MEM_MIN_BYTES

static struct vm *machine_new(void)
{
	struct vm *vm = calloc(1, sizeof(*vm));
	struct error e;

	if (!vm || mem_init(&vm->mem, MEMORY_BYTES, &e) != ST_OK)
		FUZZ_FAIL("no memory for the machine");
	vm->cfg.memory_bytes = MEMORY_BYTES;
	vm->cfg.ncpus = vm->ncpus = 1;
	clock_init(&vm->clock);
	cpuid_build(&vm->cpuid, 1, CPUID_COMMON);
	vm->vcpu[0] = vcpu_alloc(vm, 0);
	if (!vm->vcpu[0])
		FUZZ_FAIL("no memory for the vCPU");
	return vm;
}

static void machine_free(struct vm *vm)
{
	vcpu_free(vm->vcpu[0]);
	mem_fini(&vm->mem);
	free(vm);
}

static void load(struct vm *vm, enum kind kind, const char *file)
{
	struct vm_config *c = &vm->cfg;
	struct error e = {.status = ST_OK};
	enum status s;

	c->kernel = c->initrd = c->cmdline = c->multiboot = c->flat = c->rom = NULL;
	c->nmodules = 0;
	switch (kind) {
	case KIND_KERNEL_INITRD:
		c->initrd = file;
		c->cmdline = "console=ttyS0 quiet";
		/* fall through */
	case KIND_KERNEL:
		c->kernel = file;
		break;
	case KIND_MULTIBOOT_MODULE:
		c->module[c->nmodules++] = file;
		c->module[c->nmodules++] = file;
		c->cmdline = "a b";
		/* fall through */
	case KIND_MULTIBOOT:
		c->multiboot = file;
		break;
	case KIND_ROM:
		c->rom = file;
		break;
	default:
		c->flat = file;
		c->flat_addr = 0x7c00;
	}
	vcpu_reset(vm->vcpu[0], false);
	s = boot_load(vm, &e);
	if (s != ST_OK && (e.status != s || !e.msg[0] || strchr(e.msg, '\n')))
		FUZZ_FAIL("status %d without one line of text: '%s'", s, e.msg);
	if (s == ST_OK && vm->vcpu[0]->regs.rip >> 32)
		FUZZ_FAIL("entered beyond 4 GiB");
}

static void unpack(const uint8_t *data, size_t size)
{
	uint8_t *out = NULL, *exact = malloc(size ? size : 1);
	const char *kind = NULL;
	uint64_t n = 0;

	memcpy(exact, data, size); /* a read beyond the end is found */
	if (kernel_unpack(exact, size, &out, &n, &kind) == UNPACK_OK) {
		if (!out || !n)
			FUZZ_FAIL("unpacked to nothing");
		if (out[0] + out[n - 1] > 510)
			FUZZ_FAIL("impossible sum");
		free(out);
	} else if (out) {
		FUZZ_FAIL("failed and returned something");
	}
	if (!kind)
		FUZZ_FAIL("no name for messages");
	free(exact);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct vm *shared;
	static const void *volatile roots[2]; /* a vCPU is no malloc'ed memory: the leak checker does not look there */
	static int fd = -1;
	char file[64];
	enum kind kind;

	if (size < 2)
		return 0;
	kind = data[0] % KIND_COUNT;
	if (kind == KIND_UNPACK) {
		unpack(data + 1, size - 1);
		return 0;
	}
	if (!shared) {
		shared = machine_new();
		roots[0] = shared->vcpu[0]->lapic;
		roots[1] = shared->vcpu[0]->msr;
	}
	(void)roots;
	if (fd < 0)
		fd = memfd_create("fuzz-file", 0);
	if (fd < 0 || ftruncate(fd, 0) || pwrite(fd, data + 1, size - 1, 0) != (ssize_t)(size - 1))
		FUZZ_FAIL("cannot write the file");
	snprintf(file, sizeof(file), "/proc/self/fd/%d", fd);
	if (kind == KIND_ROM) { /* a machine keeps its first ROM */
		struct vm *vm = machine_new();

		load(vm, kind, file);
		machine_free(vm);
	} else {
		load(shared, kind, file);
	}
	return 0;
}
