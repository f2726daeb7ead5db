/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * AVX-512 on the kvm path: its state goes in and comes back, all of it, whatever buffer KVM wants; and a machine that offers it
 * is on no path that does not run it.
 */
#include "tests/unit/kvm_scene.h"

#include "engine/cpuid.h"

#define XCR0_ALL 0xe7u
#define XSTATE_BV 512

/* With the fake KVM, or the host's for NULL. */
static struct vm *machine(struct fake_kvm *k, char *file, struct exec_ops *ops, enum path_id path, struct error *e)
{
	struct vm_config cfg = {.path = path, .memory_bytes = 32ull << 20, .ncpus = 1, .cpuid = CPUID_FULL, .debug_exit_port = -1, .flat = file,
				.flat_addr = FLAT_ADDR, .kvm_trust = true, .kvm_sys = k ? &k->sys : NULL, .ops = path == PATH_KVM ? ops : NULL};
	struct vm *vm = NULL;
	int fd;

	*ops = kvm_ops;
	if (k)
		ops->available = fake_kvm_available;
	strcpy(file, "/tmp/steelyard-xsave-XXXXXX");
	fd = mkstemp(file);
	if (fd < 0 || write(fd, "\xf4", 1) != 1)
		abort();
	close(fd);
	if (vm_create(&vm, &cfg, e) != ST_OK)
		vm = NULL;
	unlink(file);
	return vm;
}

static uint64_t some(uint64_t *r)
{
	*r ^= *r << 13;
	*r ^= *r >> 7;
	*r ^= *r << 17;
	return *r;
}

/* Every byte of components 1, 2, 5, 6 and 7; x87 and MXCSR as after RESET. */
static void fill(const struct vm *vm, uint8_t *x, uint64_t *r)
{
	uint32_t off, size;

	for (unsigned i = 0; i < 256; i += 8)
		memcpy(x + 160 + i, &(uint64_t){some(r)}, 8);
	for (unsigned c = 2; c < 8; c++)
		for (unsigned i = 0; cpuid_xsave_component(vm, c, &off, &size) && i < size; i += 8)
			memcpy(x + off + i, &(uint64_t){some(r)}, 8);
	memcpy(x + XSTATE_BV, &(uint64_t){XCR0_ALL}, 8);
}

static void travel(struct fake_kvm *k, const char *name, struct tally *t)
{
	struct exec_ops ops;
	struct error e = {0};
	char file[40];
	struct vm *vm = machine(k, file, &ops, PATH_KVM, &e);
	uint8_t want[XSAVE_AREA_BYTES];
	uint64_t r = 0x5eed5eed5eed5eedull;
	struct exit x = {0};
	struct vcpu *v;

	if (!vm || cpuid_xcr0_mask(vm) != XCR0_ALL) {
		printf("SKIP AVX-512 through %s: %s\n", name, vm ? "this host's processor has none" : e.msg);
		vm_destroy(vm);
		return;
	}
	v = vm->vcpu[0];
	v->tid = gettid();
	EQ(ops.world_enter(vm, &e), ST_OK);
	EQ(ops.vcpu_init(v, &e), ST_OK);
	for (unsigned i = 0; i < 100; i++) {
		v->regs.xcr0 = XCR0_ALL;
		fill(vm, v->regs.xsave, &r);
		memcpy(want, v->regs.xsave, sizeof(want));
		atomic_fetch_or(&v->request, REQ_EXIT);
		ops.run(v, &x);
		if (x.reason == EXIT_CANNOT && !k) {
			printf("SKIP AVX-512 through %s: %s\n", name, x.text);
			break;
		}
		EQ(x.reason, EXIT_KICK);
		TRUE(kvm_refresh(kvm_cpu(v)));
		memset(v->regs.xsave, 0xa5, sizeof(v->regs.xsave));
		v->regs.xcr0 = 0;
		ops.pull(v);
		EQ(v->regs.xcr0, XCR0_ALL);
		/* MXCSR_MASK and what is behind the components are the processor's */
		memcpy(want + 28, v->regs.xsave + 28, 4);
		TRUE(!memcmp(want, v->regs.xsave, 2432));
		memset(v->regs.xsave + 2432, 0, sizeof(v->regs.xsave) - 2432);
	}
	ops.vcpu_fini(v);
	vm_destroy(vm);
}

static void test_travel(struct tally *t)
{
	static const int bytes[] = {0, 4096, 4096 + 8192 + 64};

	for (unsigned i = 0; i < ARRAY_LEN(bytes); i++) {
		struct fake_kvm *k = malloc(sizeof(*k));

		if (!k)
			abort();
		fake_kvm_init(k);
		k->xsave2 = bytes[i];
		k->wide = bytes[i] > XSAVE_AREA_BYTES ? calloc(1, (size_t)bytes[i] - XSAVE_AREA_BYTES) : NULL;
		travel(k, "a KVM that keeps state", t);
		TRUE(!fake_seen(k, KVM_SET_XSAVE) || (fake_seen(k, KVM_GET_XSAVE2) > 0) == (k->wide != NULL));
		for (int at = 0; k->wide && at < bytes[i] - XSAVE_AREA_BYTES; at++)
			if (k->wide[at])
				TRUE(false);
		EQ(atomic_load(&k->fds), 0);
		free(k->wide);
		free(k);
	}
	travel(NULL, "the host's KVM", t);
}

static void test_paths(struct tally *t)
{
	static const enum path_id without[] = {PATH_INTERP, PATH_BT, PATH_HYBRID};
	struct fake_kvm k;
	struct exec_ops ops;
	struct error e = {0};
	char file[40];
	struct vm *vm;

	fake_kvm_init(&k);
	vm = machine(&k, file, &ops, PATH_KVM, &e);
	if (!vm || cpuid_xcr0_mask(vm) != XCR0_ALL) {
		printf("SKIP paths without AVX-512: this host's processor has none\n");
		vm_destroy(vm);
		return;
	}
	for (unsigned i = 0; i < ARRAY_LEN(without); i++) {
		struct exec_ops other;
		struct vm *none;

		e = (struct error){0};
		EQ(vm_switch_path(vm, -1, without[i], "the test", &e), ST_UNSUPPORTED);
		TRUE(strstr(e.msg, "AVX-512") && strstr(e.msg, "--cpuid common"));
		e = (struct error){0};
		none = machine(NULL, file, &other, without[i], &e);
		TRUE(!none && (strstr(e.msg, "AVX-512") || without[i] == PATH_HYBRID));
		vm_destroy(none);
	}
	vm_destroy(vm);
}

/* Where kvm cannot go on, the guest ends: nobody else could. */
static int run_cannot(struct fake_kvm *k, struct kvm_run *r, unsigned n)
{
	(void)k, (void)n;
	r->exit_reason = KVM_EXIT_INTERNAL_ERROR;
	r->internal.suberror = KVM_INTERNAL_ERROR_EMULATION;
	r->internal.ndata = 0;
	return 0;
}

static void test_no_way_out(struct tally *t)
{
	struct fake_kvm k;
	struct exec_ops ops;
	struct error e = {0};
	char file[40];
	struct vm *vm;

	fake_kvm_init(&k);
	k.run = run_cannot;
	vm = machine(&k, file, &ops, PATH_KVM, &e);
	if (vm && cpuid_xcr0_mask(vm) == XCR0_ALL) {
		EQ(vm_run(vm), VM_FAILED);
		TRUE(strstr(vm->end_text, "path kvm, vCPU 0"));
	}
	vm_destroy(vm);
}

int main(void)
{
	struct tally tally = {0};

	setvbuf(stdout, NULL, _IOLBF, 0);
	test_travel(&tally);
	test_paths(&tally);
	test_no_way_out(&tally);
	printf("%u passed, %u failed\n", tally.passed, tally.failed);
	return tally.failed ? 1 : 0;
}
