// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A KVM that misbehaves, for LD_PRELOAD: every ioctl of KVM's on whatever file is answered here. FAKEKVM says how:
 *   absent  there is no /dev/kvm
 *   denied  this user may not open /dev/kvm, which belongs to group 1
 *   api     speaks version 11; /dev/kvm can be opened
 *   vm      has no memory for a machine
 *   hang    KVM_RUN spins and takes no signal
 *   stall   each second KVM_RUN of a process spins and takes no signal, the others until a signal comes
 *   N       KVM_RUN returns at once with exit reason N, its registers zero
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define RUN_BYTES 12288

static int fake_run(int fd, const char *how, unsigned calls)
{
	struct kvm_run *run;
	sigset_t all;

	if (!strcmp(how, "stall") && !(calls & 1))
		how = "hang";
	if (!strcmp(how, "hang")) {
		sigfillset(&all);
		sigprocmask(SIG_BLOCK, &all, NULL);
		for (;;)
			;
	}
	run = mmap(NULL, RUN_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (run == MAP_FAILED)
		return -1;
	if (run->immediate_exit) {
		errno = EINTR;
		munmap(run, RUN_BYTES);
		return -1;
	}
	while (!strcmp(how, "stall")) {
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
		if (*(volatile __u8 *)&run->immediate_exit) {
			errno = EINTR;
			munmap(run, RUN_BYTES);
			return -1;
		}
	}
	run->exit_reason = (unsigned)atoi(how);
	munmap(run, RUN_BYTES);
	return 0;
}

static int fake_vcpu(void)
{
	int fd = memfd_create("vcpu", MFD_CLOEXEC);

	if (fd >= 0 && ftruncate(fd, RUN_BYTES) < 0)
		return -1;
	return fd;
}

static const char *about(const char *path)
{
	const char *how = getenv("FAKEKVM");

	return how && !strcmp(path, "/dev/kvm") ? how : "";
}

int stat(const char *path, struct stat *st)
{
	const char *how = about(path);

	if (!strcmp(how, "absent")) {
		errno = ENOENT;
		return -1;
	}
	if (syscall(SYS_newfstatat, AT_FDCWD, *how ? "/dev/null" : path, st, 0) < 0)
		return -1;
	if (*how)
		st->st_gid = 1;
	return 0;
}

int open(const char *path, int flags, ...)
{
	const char *how = about(path);
	mode_t mode;
	va_list ap;

	va_start(ap, flags);
	mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(ap, mode_t) : 0;
	va_end(ap);
	if (!strcmp(how, "absent") || !strcmp(how, "denied")) {
		errno = *how == 'a' ? ENOENT : EACCES;
		return -1;
	}
	return (int)syscall(SYS_openat, AT_FDCWD, *how ? "/dev/null" : path, flags, mode);
}

int ioctl(int fd, unsigned long request, ...)
{
	static unsigned calls;
	const char *how = getenv("FAKEKVM");
	va_list ap;
	void *arg;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	if (!how || _IOC_TYPE(request) != KVMIO)
		return (int)syscall(SYS_ioctl, fd, request, arg);
	switch (request) {
	case KVM_GET_API_VERSION:
		return strcmp(how, "api") ? KVM_API_VERSION : 11;
	case KVM_CREATE_VM:
		errno = ENOMEM;
		return strcmp(how, "vm") ? dup(fd) : -1;
	case KVM_GET_VCPU_MMAP_SIZE:
		return RUN_BYTES;
	case KVM_CREATE_VCPU:
		return fake_vcpu();
	case KVM_RUN:
		return fake_run(fd, how, ++calls);
	case KVM_SET_MSRS:
		return 1;
	case KVM_GET_SREGS:
		/* what hardware would keep: paging on */
		memset(arg, 0, sizeof(struct kvm_sregs));
		((struct kvm_sregs *)arg)->cr0 = 0x80000011;
		return 0;
	case KVM_GET_REGS:
		memset(arg, 0, sizeof(struct kvm_regs));
		((struct kvm_regs *)arg)->rflags = 0x20002;
		return 0;
	default:
		return 0;
	}
}
