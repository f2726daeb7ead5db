/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What this host offers: processor, virtualization, KVM, memory, kernel, performance counters.
 *
 * A /dev/kvm that opens says little: some kernels offer one without VT-x or AMD-V, made by software, slower than our
 * own translator and not faithful. So three facts are asked apart: does the processor have VMX or SVM, is the vendor's
 * module there, may we open the device. `auto` asks for all three.
 */
#include "fastpath/probe.h"

#include <cpuid.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <jansson.h>
#include <linux/kvm.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

#define EXIT_USAGE 2

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

/* A module built into the kernel is in /sys/module too, so that is where to look. */
static void probe_modules(struct host_facts *f)
{
	static const char *const vendor[] = {"kvm_intel", "kvm_amd"};
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

static void probe_kvm(struct host_facts *f)
{
	struct group *g;
	struct stat st;
	int fd;

	f->kvm_api = -1;
	probe_modules(f);
	if (stat("/dev/kvm", &st) < 0) {
		f->kvm = KVM_ABSENT;
		f->kvm_errno = errno;
		return;
	}
	g = getgrgid(st.st_gid);
	snprintf(f->kvm_group, sizeof(f->kvm_group), "%s", g ? g->gr_name : "");
	fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		f->kvm = errno == EACCES || errno == EPERM ? KVM_NO_PERMISSION : KVM_BROKEN;
		f->kvm_errno = errno;
		return;
	}
	f->kvm_api = ioctl(fd, KVM_GET_API_VERSION, 0);
	f->kvm_errno = f->kvm_api < 0 ? errno : 0;
	f->kvm = f->kvm_api == KVM_API_VERSION ? KVM_OPENS : KVM_BROKEN;
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

void probe_host(struct host_facts *f)
{
	struct utsname u;

	memset(f, 0, sizeof(*f));
	probe_cpu(f);
	probe_kvm(f);
	probe_perf(f);
	f->memory_bytes = meminfo("MemTotal:");
	f->memory_free_bytes = meminfo("MemAvailable:");
	if (uname(&u) == 0)
		snprintf(f->kernel, sizeof(f->kernel), "%s %s %s", u.sysname, u.release, u.machine);
}

/* This build has no kvm path: whatever the host offers, auto takes bt, and says what it would take else. */
const char *probe_choose(const struct host_facts *f, const char **why)
{
	if (f->kvm == KVM_ABSENT)
		*why = "there is no /dev/kvm; the binary translator needs none";
	else if (!f->vmx && !f->svm)
		*why = "/dev/kvm without VT-x or AMD-V is a KVM made by software and is not used";
	else if (!f->kvm_vendor_module)
		*why = "the processor has VT-x or AMD-V, but neither kvm_intel nor kvm_amd is loaded";
	else if (f->kvm == KVM_NO_PERMISSION)
		*why = "this user may not open /dev/kvm";
	else if (f->kvm == KVM_BROKEN)
		*why = "/dev/kvm is there and does not answer as KVM does";
	else
		*why = "this host has hardware virtualization, but this build has no kvm path";
	return "bt";
}

static const char *kvm_text(const struct host_facts *f, char *buf, size_t n)
{
	switch (f->kvm) {
	case KVM_ABSENT:
		return "no /dev/kvm";
	case KVM_NO_PERMISSION:
		snprintf(buf, n, "/dev/kvm may not be opened: join group '%s' (usermod -aG %s USER, then log in again)",
			 f->kvm_group, f->kvm_group);
		return buf;
	case KVM_BROKEN:
		snprintf(buf, n, "/dev/kvm is there but unusable (API version %d, %s)", f->kvm_api,
			 strerror(f->kvm_errno));
		return buf;
	case KVM_OPENS:
		snprintf(buf, n, "/dev/kvm opens, API version %d", f->kvm_api);
		return buf;
	}
	return "";
}

static void print_text(const struct host_facts *f)
{
	const char *why, *path = probe_choose(f, &why);
	unsigned missing = 0;
	char buf[256];

	printf("processor     %s (%s family %u model %u stepping %u), %u CPU%s\n", f->model, f->vendor, f->family,
	       f->model_number, f->stepping, f->cpus, f->cpus == 1 ? "" : "s");
	printf("features     ");
	for (unsigned i = 0; i < f->nfeatures; i++)
		if (f->feature[i].present)
			printf(" %s", f->feature[i].name);
	printf("\nmissing      ");
	for (unsigned i = 0; i < f->nfeatures; i++) {
		if (!f->feature[i].present) {
			printf(" %s", f->feature[i].name);
			missing++;
		}
	}
	if (!missing)
		printf(" none of those looked for");
	printf("\nvirtual       VT-x %s, AMD-V %s, ", f->vmx ? "yes" : "no", f->svm ? "yes" : "no");
	if (f->hypervisor)
		printf("this host runs under a hypervisor (%s)\n",
		       f->hypervisor_name[0] ? f->hypervisor_name : "nameless");
	else
		printf("no hypervisor below\n");
	printf("kvm           %s, module %s\n", kvm_text(f, buf, sizeof(buf)),
	       f->kvm_module[0] ? f->kvm_module : "none");
	printf("memory        %llu MiB, %llu MiB available\n", (unsigned long long)(f->memory_bytes >> 20),
	       (unsigned long long)(f->memory_free_bytes >> 20));
	printf("kernel        %s\n", f->kernel);
	printf("perf counters %s%s%s\n", f->perf_counters ? "yes" : "no (",
	       f->perf_counters ? "" : strerror(f->perf_errno), f->perf_counters ? "" : ")");
	printf("auto          %s: %s\n", path, why);
}

static int print_json(const struct host_facts *f)
{
	static const char *const access_name[] = {"absent", "denied", "broken", "opens"};
	const char *why, *path = probe_choose(f, &why);
	json_t *feat = json_object(), *root;
	int r;

	for (unsigned i = 0; i < f->nfeatures; i++)
		json_object_set_new(feat, f->feature[i].name, json_boolean(f->feature[i].present));
	/* clang-format off */
	root = json_pack("{s:{s:s,s:s,s:i,s:i,s:i,s:i,s:o},"
			 "s:{s:b,s:b,s:b,s:s},"
			 "s:{s:s,s:i,s:s,s:s,s:b},"
			 "s:{s:I,s:I},s:s,s:b,s:{s:s,s:s}}",
			 "cpu", "vendor", f->vendor, "model_name", f->model, "family", f->family, "model", f->model_number,
			 "stepping", f->stepping, "cpus", f->cpus, "features", feat,
			 "virtualization", "vmx", f->vmx, "svm", f->svm, "hypervisor", f->hypervisor, "hypervisor_name",
			 f->hypervisor_name,
			 "kvm", "access", access_name[f->kvm], "api", f->kvm_api, "group", f->kvm_group, "module", f->kvm_module,
			 "vendor_module", f->kvm_vendor_module,
			 "memory", "bytes", (json_int_t)f->memory_bytes, "available_bytes", (json_int_t)f->memory_free_bytes,
			 "kernel", f->kernel, "perf_counters", f->perf_counters,
			 "auto", "path", path, "why", why);
	/* clang-format on */
	if (!root) { /* json_pack has released feat */
		fprintf(stderr, "steelyard: no memory for the answer\n");
		return 1;
	}
	r = json_dumpf(root, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
	putchar('\n');
	json_decref(root);
	return r == 0 ? 0 : 1;
}

int probe_main(int argc, char **argv)
{
	struct host_facts f;
	bool json = false;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--json") == 0) {
			json = true;
		} else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
			printf("usage: steelyard probe [--json]\n"
			       "Says what this host offers for running guests, and which path --path auto takes.\n");
			return 0;
		} else {
			fprintf(stderr, "steelyard: probe does not know '%s': usage: steelyard probe [--json]\n",
				argv[i]);
			return EXIT_USAGE;
		}
	}
	probe_host(&f);
	if (json)
		return print_json(&f);
	print_text(&f);
	return 0;
}
