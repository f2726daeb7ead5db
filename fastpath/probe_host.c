/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Facts about this host, read and not measured: processor, virtualization, KVM, memory, kernel, performance counters.
 *
 * A /dev/kvm that opens says little: some kernels offer one without VT-x or AMD-V, made by software, slower than our
 * own translator and not faithful. So three facts are asked apart: does the processor have VMX or SVM, is the vendor's
 * module there, may we open the device. `auto` asks for all three, and only then for measurements.
 */
#include "fastpath/probe.h"

#include <cpuid.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/kvm.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

enum { EAX, EBX, ECX, EDX };

/* Features that decide what a guest can be offered, or how the translator works. */
static const struct {
	uint32_t leaf, subleaf;
	uint8_t reg, bit;
	const char *name;
} features[] = {
	{1, 0, EDX, 26, "sse2"},
	{1, 0, ECX, 20, "sse4_2"},
	{1, 0, ECX, 13, "cx16"},
	{1, 0, ECX, 23, "popcnt"},
	{1, 0, ECX, 25, "aes"},
	{1, 0, ECX, 26, "xsave"},
	{1, 0, ECX, 28, "avx"},
	{7, 0, EBX, 0, "fsgsbase"},
	{7, 0, EBX, 3, "bmi1"},
	{7, 0, EBX, 5, "avx2"},
	{7, 0, EBX, 8, "bmi2"},
	{7, 0, EBX, 9, "erms"},
	{7, 0, EDX, 4, "fsrm"},
	{7, 0, EBX, 16, "avx512f"},
	{7, 0, EBX, 29, "sha_ni"},
	{7, 0, ECX, 8, "gfni"},
	{0x80000001, 0, EDX, 27, "rdtscp"},
	{0x80000007, 0, EDX, 8, "invariant_tsc"},
};
_Static_assert(sizeof(features) / sizeof(features[0]) <= PROBE_MAX_FEATURES, "struct host_facts has room for all");

static void cpuid(uint32_t leaf, uint32_t subleaf, uint32_t r[4])
{
	if (!__get_cpuid_count(leaf, subleaf, &r[EAX], &r[EBX], &r[ECX], &r[EDX]))
		memset(r, 0, 4 * sizeof(r[0]));
}

/* CPUID strings are whatever a hypervisor put there; terminals and JSON want text. */
static void printable(char *s)
{
	for (; *s; s++)
		if (*s < ' ' || *s > '~')
			*s = '?';
}

static void probe_cpu(struct host_facts *f)
{
	uint32_t r[4];
	char *p;

	cpuid(0, 0, r);
	memcpy(f->vendor, &r[EBX], 4);
	memcpy(f->vendor + 4, &r[EDX], 4);
	memcpy(f->vendor + 8, &r[ECX], 4);

	cpuid(1, 0, r);
	f->family = (r[EAX] >> 8) & 0xf;
	f->model_number = (r[EAX] >> 4) & 0xf;
	f->stepping = r[EAX] & 0xf;
	if (f->family == 6 || f->family == 15)
		f->model_number += (r[EAX] >> 12) & 0xf0;
	if (f->family == 15)
		f->family += (r[EAX] >> 20) & 0xff;
	f->vmx = (r[ECX] >> 5) & 1;
	f->hypervisor = r[ECX] >> 31;
	cpuid(0x80000001, 0, r);
	f->svm = (r[ECX] >> 2) & 1;
	if (f->hypervisor) {
		/* outside the ranges that __get_cpuid checks */
		__cpuid(0x40000000, r[EAX], r[EBX], r[ECX], r[EDX]);
		memcpy(f->hypervisor_name, &r[EBX], 12);
	}
	for (unsigned i = 0; i < 3; i++) {
		cpuid(0x80000002 + i, 0, r);
		memcpy(f->model + 16 * i, r, 16);
	}
	for (p = f->model; *p == ' '; p++)
		;
	memmove(f->model, p, strlen(p) + 1);
	for (p = f->model + strlen(f->model); p > f->model && p[-1] == ' '; p--)
		p[-1] = 0;
	printable(f->vendor);
	printable(f->model);
	printable(f->hypervisor_name);

	f->nfeatures = sizeof(features) / sizeof(features[0]);
	for (unsigned i = 0; i < f->nfeatures; i++) {
		cpuid(features[i].leaf, features[i].subleaf, r);
		f->feature[i].name = features[i].name;
		f->feature[i].present = (r[features[i].reg] >> features[i].bit) & 1;
	}
	f->cpus = (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
}

/*
 * A module built into the kernel is in /sys/module too, so that is where to look: first for the one of this processor,
 * because a kernel may have both built in.
 */
static void probe_modules(struct host_facts *f)
{
	const char *const vendor[] = {f->svm ? "kvm_amd" : "kvm_intel", f->svm ? "kvm_intel" : "kvm_amd"};
	struct dirent *de;
	char path[64];
	DIR *d;

	for (unsigned i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "/sys/module/%s", vendor[i]);
		if (access(path, F_OK) == 0) {
			snprintf(f->kvm_module, sizeof(f->kvm_module), "%s", vendor[i]);
			f->kvm_vendor_module = true;
			return;
		}
	}
	d = opendir("/sys/module");
	while (d && (de = readdir(d)))
		if (strncmp(de->d_name, "kvm_", 4) == 0)
			snprintf(f->kvm_module, sizeof(f->kvm_module), "%.60s", de->d_name);
	if (d)
		closedir(d);
}

/* Permission is asked of open(2), not of mode bits: root without capabilities, ACLs and containers differ. */
static void probe_kvm(struct host_facts *f)
{
	struct group *g;
	struct stat st;
	int fd;

	f->kvm_api = -1;
	probe_modules(f);
	if (stat(f->kvm_device, &st) < 0) {
		f->kvm = errno == EACCES ? KVM_NO_PERMISSION : KVM_ABSENT;
		f->kvm_errno = errno;
		return;
	}
	g = getgrgid(st.st_gid);
	if (g)
		snprintf(f->kvm_group, sizeof(f->kvm_group), "%s", g->gr_name);
	else
		snprintf(f->kvm_group, sizeof(f->kvm_group), "%u", (unsigned)st.st_gid);
	/* not a device: opening a pipe might wait for ever */
	if (!S_ISCHR(st.st_mode)) {
		f->kvm = KVM_BROKEN;
		f->kvm_errno = ENOTTY;
		return;
	}
	fd = open(f->kvm_device, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0) {
		f->kvm = errno == EACCES || errno == EPERM   ? KVM_NO_PERMISSION
			 : errno == ENODEV || errno == ENXIO ? KVM_ABSENT
							     : KVM_BROKEN;
		f->kvm_errno = errno;
		return;
	}
	f->kvm_api = ioctl(fd, KVM_GET_API_VERSION, 0);
	f->kvm_errno = f->kvm_api < 0 ? errno : 0;
	f->kvm = f->kvm_api == KVM_API_VERSION ? KVM_OPENS : f->kvm_api < 0 ? KVM_BROKEN : KVM_OLD_API;
	close(fd);
}

static void probe_perf(struct host_facts *f)
{
	struct perf_event_attr a = {
		.type = PERF_TYPE_HARDWARE,
		.size = sizeof(a),
		.config = PERF_COUNT_HW_INSTRUCTIONS,
		.exclude_kernel = 1,
		.exclude_hv = 1,
	};
	long fd = syscall(SYS_perf_event_open, &a, 0, -1, -1, 0);

	f->perf_counters = fd >= 0;
	f->perf_errno = fd < 0 ? errno : 0;
	if (fd >= 0)
		close((int)fd);
}

static uint64_t meminfo(const char *key)
{
	FILE *file = fopen("/proc/meminfo", "r");
	char line[128];
	uint64_t kib = 0;

	while (file && fgets(line, sizeof(line), file))
		if (strncmp(line, key, strlen(key)) == 0)
			kib = strtoull(line + strlen(key), NULL, 10);
	if (file)
		fclose(file);
	return kib << 10;
}

static void read_line(const char *path, char *buf, size_t n)
{
	FILE *file = fopen(path, "r");

	buf[0] = 0;
	if (file && fgets(buf, (int)n, file))
		buf[strcspn(buf, "\n")] = 0;
	if (file)
		fclose(file);
}

void probe_host_device(struct host_facts *f, const char *device)
{
	struct utsname u;

	memset(f, 0, sizeof(*f));
	f->kvm_device = device ? device : PROBE_KVM_DEVICE;
	probe_cpu(f);
	probe_kvm(f);
	probe_perf(f);
	f->memory_bytes = meminfo("MemTotal:");
	f->memory_free_bytes = meminfo("MemAvailable:");
	if (uname(&u) == 0) {
		snprintf(f->kernel, sizeof(f->kernel), "%s %s %s", u.sysname, u.release, u.machine);
		snprintf(f->kernel_build, sizeof(f->kernel_build), "%s", u.version);
	}
	read_line("/proc/sys/kernel/random/boot_id", f->boot_id, sizeof(f->boot_id));
}

void probe_host(struct host_facts *f)
{
	probe_host_device(f, NULL);
}
