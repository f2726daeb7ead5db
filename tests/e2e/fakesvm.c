// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Preloaded inside the emulated host of tests/e2e/nested.sh: goes around what QEMU 7.2 gets wrong when it emulates AMD-V.
 *
 * The TSS in TR is "busy" whenever a task runs (SDM 3A 7.2.3): so KVM_GET_SREGS says, and so it goes back in. QEMU wants
 * "available" there when it switches stacks in 32-bit code, and aborts the whole emulation ("invalid tss type"), because its
 * own LTR leaves the hidden copy at that. What goes to KVM gets that one bit cleared; KVM sets it in what comes back.
 *
 * QEMU does not intercept XSETBV, so KVM never learns the guest's XCR0 and puts its own back at the next entry. With FAKE_XCR0=N
 * in the environment KVM is told N from the first, and says N: right for guests that set no other value.
 */
#include <dlfcn.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#define TSS_BUSY 2
#define FILES 256

static struct kvm_run *page_of[FILES]; /* by file descriptor */

static void *next(const char *name)
{
	return dlsym(RTLD_NEXT, name);
}

void *mmap(void *addr, size_t len, int prot, int flags, int fd, off_t off)
{
	void *(*real)(void *, size_t, int, int, int, off_t) = next("mmap");
	void *p = real(addr, len, prot, flags, fd, off);

	if (fd >= 0 && fd < FILES && p != MAP_FAILED && off == 0)
		page_of[fd] = p;
	return p;
}

void *mmap64(void *addr, size_t len, int prot, int flags, int fd, off_t off)
{
	return mmap(addr, len, prot, flags, fd, off);
}

static void fix_tr(struct kvm_segment *tr)
{
	tr->type &= (unsigned char)~TSS_BUSY;
}

int ioctl(int fd, unsigned long request, ...)
{
	int (*real)(int, unsigned long, void *) = next("ioctl");
	const char *xcr0 = getenv("FAKE_XCR0");
	struct kvm_xcrs *x;
	va_list ap;
	void *arg;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	if (request == KVM_SET_SREGS || request == KVM_SET_SREGS2) /* both begin alike */
		fix_tr(&((struct kvm_sregs *)arg)->tr);
	if (request == KVM_RUN && fd >= 0 && fd < FILES && page_of[fd] && (page_of[fd]->kvm_dirty_regs & KVM_SYNC_X86_SREGS))
		fix_tr(&page_of[fd]->s.regs.sregs.tr);
	if (request == KVM_SET_XCRS && xcr0) {
		x = arg;
		x->xcrs[0].value = strtoull(xcr0, NULL, 0);
	}
	return real(fd, request, arg);
}
