/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * unicorn: a peer of the evaluation. libunicorn executes instructions and has no machine, so no system can be booted in it; what
 * it can run is a program that needs none but to begin, to take some memory, to read clocks and to write a line. The static
 * program "workloads" is one as long as its workload computes, and it is the same file that runs natively and in the guests.
 *
 *   unicorn --version
 *   unicorn [--times N] PROGRAM [ARGUMENT...]      N executions, one behind the other, in one engine
 *
 * PROGRAM (static, ELF64, fixed addresses) is loaded into flat memory without page tables, with the stack that the System V ABI
 * (AMD64 supplement 3.4.1) gives to a process. Its system calls end at the rows of calls[], below: clocks, CPU affinity, resource
 * usage and the output are the host's own, of this process, so that the times which the program says of itself are what
 * libunicorn's work cost here, its translation included. Any other call ends the program with one line that names it: it would
 * need an operating system.
 *
 * Every execution begins with the program's data as in the file and empty memory, but with what is translated already: as a
 * program that is executed again in a machine. What wrote code of its own has none of it left.
 *
 * libunicorn ends the whole process when it meets some instructions that it does not know. That is why this is a program.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unicorn/unicorn.h>
#include <unistd.h>

#define PAGE 4096ull
#define MAX_SEGMENTS 8
#define HEAP_GVA 0x100000000ull /* what brk gives; behind it what mmap gives */
#define BRK_BYTES (256ull << 20)
#define HEAP_BYTES (1ull << 30)
#define STACK_GVA 0x7f0000000000ull
#define STACK_BYTES (8ull << 20)
#define NOWHERE 0x1000ull /* the end that uc_emu_start wants: nothing is there */
#define ASK_BYTES 4096    /* of what a call may copy at once, unless it is written out */

struct segment {
	uint64_t gva, bytes; /* whole pages */
	uint8_t *memory;
	uint32_t protection; /* UC_PROT_ */
	const uint8_t *file;
	uint64_t file_at, file_bytes;
};

struct flat {
	uc_engine *uc;
	const uint8_t *image;
	size_t image_bytes;
	const Elf64_Ehdr *elf;
	struct segment segment[MAX_SEGMENTS];
	unsigned nsegments;
	uint8_t *heap, *stack;
	uint64_t brk, mapped; /* ends of what is in use */
	uint64_t headers_gva;
	bool exited, wrote_code;
	int status;
	char why[200];
};

static uint64_t page_up(uint64_t n)
{
	return (n + PAGE - 1) & ~(PAGE - 1);
}

static uint64_t reg(struct flat *f, int which)
{
	uint64_t v = 0;

	uc_reg_read(f->uc, which, &v);
	return v;
}

static void set_reg(struct flat *f, int which, uint64_t v)
{
	uc_reg_write(f->uc, which, &v);
}

/* ---- system calls ---- */

/* Arguments as SDM-independent convention of Linux has them: RDI RSI RDX R10 R8 R9. The result goes to RAX. */
typedef int64_t call_fn(struct flat *f, const uint64_t a[6]);

static int64_t result(long r)
{
	return r < 0 ? -errno : r;
}

/* The program's memory from the host's answer. */
static int64_t give(struct flat *f, uint64_t gva, const void *from, size_t n, int64_t r)
{
	return r < 0 ? r : uc_mem_write(f->uc, gva, from, n) ? -EFAULT : r;
}

static int64_t call_write(struct flat *f, const uint64_t a[6])
{
	char bytes[ASK_BYTES];
	size_t n = a[2] < sizeof(bytes) ? a[2] : sizeof(bytes);

	if (a[0] != STDOUT_FILENO && a[0] != STDERR_FILENO)
		return -EBADF;
	return uc_mem_read(f->uc, a[1], bytes, n) ? -EFAULT : result(write((int)a[0], bytes, n));
}

static int64_t call_fstat(struct flat *f, const uint64_t a[6])
{
	struct stat st = {0};
	int64_t r = result(fstat((int)a[0], &st));

	return give(f, a[1], &st, sizeof(st), r);
}

/* With an empty path and AT_EMPTY_PATH it is fstat; files are not to be had. */
static int64_t call_newfstatat(struct flat *f, const uint64_t a[6])
{
	char first = 0;

	if (uc_mem_read(f->uc, a[1], &first, 1))
		return -EFAULT;
	return first || !(a[3] & AT_EMPTY_PATH) ? -ENOENT : call_fstat(f, (const uint64_t[6]){a[0], a[2]});
}

/* The end of the heap; what is asked beyond its room is not given. */
static int64_t call_brk(struct flat *f, const uint64_t a[6])
{
	if (a[0] >= HEAP_GVA && a[0] <= HEAP_GVA + BRK_BYTES)
		f->brk = a[0];
	return (int64_t)f->brk;
}

/* Fresh memory behind the last: what is unmapped is not used again in this execution. */
static int64_t call_mmap(struct flat *f, const uint64_t a[6])
{
	uint64_t n = page_up(a[1]), at = f->mapped;

	if (!(a[3] & MAP_ANONYMOUS) || (a[3] & MAP_FIXED))
		return -ENODEV;
	if (!a[1] || n > HEAP_GVA + HEAP_BYTES - at)
		return -ENOMEM;
	f->wrote_code |= (a[2] & PROT_EXEC) != 0;
	f->mapped = at + n;
	return (int64_t)at;
}

static int64_t call_munmap(struct flat *f, const uint64_t a[6])
{
	uint64_t n = page_up(a[1]);

	if (a[0] % PAGE || a[0] < HEAP_GVA || n > HEAP_GVA + HEAP_BYTES - a[0])
		return -EINVAL;
	return result(madvise(f->heap + (a[0] - HEAP_GVA), n, MADV_DONTNEED));
}

static int64_t call_mprotect(struct flat *f, const uint64_t a[6])
{
	f->wrote_code |= (a[2] & PROT_EXEC) != 0;
	return 0;
}

static int64_t call_clock_gettime(struct flat *f, const uint64_t a[6])
{
	struct timespec t = {0};
	int64_t r = result(clock_gettime((clockid_t)a[0], &t));

	return give(f, a[1], &t, sizeof(t), r);
}

static int64_t call_getrusage(struct flat *f, const uint64_t a[6])
{
	uint8_t usage[144] = {0}; /* the kernel's struct, which is the library's without its reserve */
	int64_t r = result(syscall(SYS_getrusage, a[0], usage));

	return give(f, a[1], usage, sizeof(usage), r);
}

static int64_t call_sched_getaffinity(struct flat *f, const uint64_t a[6])
{
	unsigned long mask[ASK_BYTES / sizeof(unsigned long)] = {0};
	size_t n = a[1] < sizeof(mask) ? a[1] : sizeof(mask);
	int64_t r = result(syscall(SYS_sched_getaffinity, 0, n, mask));

	return give(f, a[2], mask, r > 0 ? (size_t)r : 0, r);
}

static int64_t call_sched_setaffinity(struct flat *f, const uint64_t a[6])
{
	unsigned long mask[ASK_BYTES / sizeof(unsigned long)] = {0};
	size_t n = a[1] < sizeof(mask) ? a[1] : sizeof(mask);

	if (uc_mem_read(f->uc, a[2], mask, n))
		return -EFAULT;
	return result(syscall(SYS_sched_setaffinity, 0, n, mask));
}

static int64_t call_getcpu(struct flat *f, const uint64_t a[6])
{
	unsigned cpu = 0, node = 0;
	int64_t r = result(syscall(SYS_getcpu, &cpu, &node, NULL));

	r = a[0] ? give(f, a[0], &cpu, sizeof(cpu), r) : r;
	return a[1] ? give(f, a[1], &node, sizeof(node), r) : r;
}

static int64_t call_getrandom(struct flat *f, const uint64_t a[6])
{
	uint8_t bytes[256] = {0}; /* the same in every execution: nothing here is secret */
	size_t n = a[1] < sizeof(bytes) ? a[1] : sizeof(bytes);

	return give(f, a[0], bytes, n, (int64_t)n);
}

static int64_t call_arch_prctl(struct flat *f, const uint64_t a[6])
{
	if (a[0] != 0x1002) /* ARCH_SET_FS */
		return -EINVAL;
	set_reg(f, UC_X86_REG_FS_BASE, a[1]);
	return 0;
}

static int64_t call_exit(struct flat *f, const uint64_t a[6])
{
	f->exited = true;
	f->status = (int)(a[0] & 0xff);
	uc_emu_stop(f->uc);
	return 0;
}

static int64_t call_one(struct flat *f, const uint64_t a[6])
{
	(void)f, (void)a;
	return 1;
}

/* For what the library can do without. */
static int64_t call_absent(struct flat *f, const uint64_t a[6])
{
	(void)f, (void)a;
	return -ENOSYS;
}

static int64_t call_no_terminal(struct flat *f, const uint64_t a[6])
{
	(void)f, (void)a;
	return -ENOTTY;
}

static const struct {
	long number;
	call_fn *run;
} calls[] = {
	{SYS_write, call_write},
	{SYS_fstat, call_fstat},
	{SYS_newfstatat, call_newfstatat},
	{SYS_brk, call_brk},
	{SYS_mmap, call_mmap},
	{SYS_munmap, call_munmap},
	{SYS_mprotect, call_mprotect},
	{SYS_clock_gettime, call_clock_gettime},
	{SYS_getrusage, call_getrusage},
	{SYS_sched_getaffinity, call_sched_getaffinity},
	{SYS_sched_setaffinity, call_sched_setaffinity},
	{SYS_getcpu, call_getcpu},
	{SYS_getrandom, call_getrandom},
	{SYS_arch_prctl, call_arch_prctl},
	{SYS_exit, call_exit},
	{SYS_exit_group, call_exit},
	{SYS_set_tid_address, call_one},
	{SYS_set_robust_list, call_absent},
	{SYS_rseq, call_absent},
	{SYS_prlimit64, call_absent},
	{SYS_readlink, call_absent},
	{SYS_readlinkat, call_absent},
	{SYS_ioctl, call_no_terminal},
};

static void serve(uc_engine *uc, void *ctx)
{
	struct flat *f = ctx;
	uint64_t number = reg(f, UC_X86_REG_RAX);
	const uint64_t a[6] = {reg(f, UC_X86_REG_RDI), reg(f, UC_X86_REG_RSI), reg(f, UC_X86_REG_RDX),
			       reg(f, UC_X86_REG_R10), reg(f, UC_X86_REG_R8),  reg(f, UC_X86_REG_R9)};

	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
		if ((uint64_t)calls[i].number == number) {
			set_reg(f, UC_X86_REG_RAX, (uint64_t)calls[i].run(f, a));
			return;
		}
	snprintf(f->why, sizeof(f->why), "system call %" PRIu64 " needs an operating system, which is not here",
		 number);
	uc_emu_stop(uc);
}

/* ---- memory ---- */

static bool fail(struct flat *f, const char *what)
{
	snprintf(f->why, sizeof(f->why), "%s", what);
	return false;
}

static uint8_t *map_memory(struct flat *f, uint64_t gva, uint64_t bytes, uint32_t protection)
{
	uint8_t *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED || uc_mem_map_ptr(f->uc, gva, bytes, protection, p) != UC_ERR_OK)
		return NULL;
	return p;
}

static bool add_segment(struct flat *f, const Elf64_Phdr *p)
{
	struct segment *s = &f->segment[f->nsegments];
	uint64_t from = p->p_vaddr & ~(PAGE - 1), end = page_up(p->p_vaddr + p->p_memsz);

	if (f->nsegments == MAX_SEGMENTS || p->p_memsz > HEAP_GVA || p->p_vaddr < PAGE || end > HEAP_GVA ||
	    p->p_filesz > p->p_memsz || p->p_offset > f->image_bytes || p->p_filesz > f->image_bytes - p->p_offset)
		return fail(f, "a segment of the program lies where it cannot");
	*s = (struct segment){.gva = from,
			      .bytes = end - from,
			      .protection = ((p->p_flags & PF_R) ? UC_PROT_READ : 0u) |
					    ((p->p_flags & PF_W) ? UC_PROT_WRITE : 0u) |
					    ((p->p_flags & PF_X) ? UC_PROT_EXEC : 0u),
			      .file = f->image + p->p_offset,
			      .file_at = p->p_vaddr - from,
			      .file_bytes = p->p_filesz};
	s->memory = map_memory(f, s->gva, s->bytes, s->protection);
	if (!s->memory)
		return fail(f, "there is no room for a segment of the program");
	memcpy(s->memory + s->file_at, s->file, s->file_bytes);
	if (p->p_offset <= f->elf->e_phoff && f->elf->e_phoff < p->p_offset + p->p_filesz)
		f->headers_gva = p->p_vaddr + (f->elf->e_phoff - p->p_offset);
	f->nsegments++;
	return true;
}

static bool load(struct flat *f, const char *file)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	const Elf64_Phdr *p;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) || st.st_size < (off_t)sizeof(*f->elf))
		return fail(f, fd < 0 ? strerror(errno) : "it is no program");
	f->image_bytes = (size_t)st.st_size;
	f->image = mmap(NULL, f->image_bytes, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	if (f->image == MAP_FAILED)
		return fail(f, strerror(errno));
	f->elf = (const Elf64_Ehdr *)f->image;
	if (memcmp(f->elf->e_ident, ELFMAG, SELFMAG) || f->elf->e_ident[EI_CLASS] != ELFCLASS64 ||
	    f->elf->e_machine != EM_X86_64 || f->elf->e_type != ET_EXEC || f->elf->e_phentsize != sizeof(*p) ||
	    f->elf->e_phoff % 8 || f->elf->e_phoff > f->image_bytes ||
	    f->elf->e_phnum > (f->image_bytes - f->elf->e_phoff) / sizeof(*p))
		return fail(f, "it is no static 64-bit program with fixed addresses");
	p = (const Elf64_Phdr *)(f->image + f->elf->e_phoff);
	for (unsigned i = 0; i < f->elf->e_phnum; i++) {
		if (p[i].p_type == PT_INTERP)
			return fail(f, "it is not linked statically");
		if (p[i].p_type == PT_LOAD && p[i].p_memsz && !add_segment(f, &p[i]))
			return false;
	}
	f->heap = map_memory(f, HEAP_GVA, HEAP_BYTES, UC_PROT_ALL);
	f->stack = map_memory(f, STACK_GVA, STACK_BYTES, UC_PROT_READ | UC_PROT_WRITE);
	return (f->nsegments && f->heap && f->stack) || fail(f, "there is no room for its memory");
}

/* As before the first execution, but for what is translated. */
static void reset_memory(struct flat *f)
{
	for (unsigned i = 0; i < f->nsegments; i++) {
		struct segment *s = &f->segment[i];

		if (!(s->protection & UC_PROT_WRITE))
			continue;
		memset(s->memory, 0, s->bytes);
		memcpy(s->memory + s->file_at, s->file, s->file_bytes);
	}
	madvise(f->heap, HEAP_BYTES, MADV_DONTNEED);
	madvise(f->stack, STACK_BYTES, MADV_DONTNEED);
	if (f->wrote_code)
		uc_ctl_remove_cache(f->uc, HEAP_GVA, HEAP_GVA + HEAP_BYTES);
	f->wrote_code = false;
	f->brk = HEAP_GVA;
	f->mapped = HEAP_GVA + BRK_BYTES;
}

/* ---- one execution ---- */

static uint64_t push_bytes(struct flat *f, uint64_t *sp, const void *from, size_t n)
{
	*sp -= n;
	memcpy(f->stack + (*sp - STACK_GVA), from, n);
	return *sp;
}

/* Strings at the top; below them argc, argv, no environment, the auxiliary vector. false: too many arguments. */
static bool build_stack(struct flat *f, int argc, char **argv, uint64_t *sp)
{
	uint64_t word[256], random[2] = {0x243f6a8885a308d3, 0x13198a2e03707344};
	size_t n = 0;

	*sp = STACK_GVA + STACK_BYTES;
	if (argc > 200)
		return fail(f, "it has too many arguments");
	word[n++] = (uint64_t)argc;
	for (int i = 0; i < argc; i++) {
		size_t bytes = strlen(argv[i]) + 1;

		if (bytes > *sp - STACK_GVA - STACK_BYTES / 2)
			return fail(f, "its arguments are too long");
		word[n++] = push_bytes(f, sp, argv[i], bytes);
	}
	push_bytes(f, sp, random, sizeof(random));
	const uint64_t rest[] = {0,         0,
				 AT_RANDOM, *sp,
				 AT_PAGESZ, PAGE,
				 AT_PHDR,   f->headers_gva,
				 AT_PHENT,  sizeof(Elf64_Phdr),
				 AT_PHNUM,  f->elf->e_phnum,
				 AT_ENTRY,  f->elf->e_entry,
				 AT_SECURE, 0,
				 AT_NULL,   0};

	memcpy(word + n, rest, sizeof(rest));
	n += sizeof(rest) / sizeof(rest[0]);
	*sp = (*sp - n * sizeof(*word)) & ~15ull;
	memcpy(f->stack + (*sp - STACK_GVA), word, n * sizeof(*word));
	return true;
}

static bool execute(struct flat *f, int argc, char **argv)
{
	static const int general[] = {UC_X86_REG_RAX, UC_X86_REG_RBX, UC_X86_REG_RCX, UC_X86_REG_RDX, UC_X86_REG_RSI,
				      UC_X86_REG_RDI, UC_X86_REG_RBP, UC_X86_REG_R8,  UC_X86_REG_R9,  UC_X86_REG_R10,
				      UC_X86_REG_R11, UC_X86_REG_R12, UC_X86_REG_R13, UC_X86_REG_R14, UC_X86_REG_R15};
	uint64_t sp;
	uc_err e;

	reset_memory(f);
	if (!build_stack(f, argc, argv, &sp))
		return false;
	for (size_t i = 0; i < sizeof(general) / sizeof(general[0]); i++)
		set_reg(f, general[i], 0);
	set_reg(f, UC_X86_REG_RSP, sp);
	set_reg(f, UC_X86_REG_FS_BASE, 0);
	set_reg(f, UC_X86_REG_EFLAGS, 0x202);
	set_reg(f, UC_X86_REG_MXCSR, 0x1f80);
	set_reg(f, UC_X86_REG_FPCW, 0x37f);
	f->exited = false;
	e = uc_emu_start(f->uc, f->elf->e_entry, NOWHERE, 0, 0);
	if (f->exited || f->why[0])
		return f->exited && !f->status;
	snprintf(f->why, sizeof(f->why), "%s at 0x%" PRIx64, e ? uc_strerror(e) : "it stopped", reg(f, UC_X86_REG_RIP));
	return false;
}

static int complain(const struct flat *f, const char *program)
{
	if (f->why[0])
		fprintf(stderr, "unicorn: %s: %s\n", program, f->why);
	return f->why[0] ? 1 : f->status;
}

int main(int argc, char **argv)
{
	unsigned long times = 1;
	unsigned major, minor;
	struct flat *f;
	uc_hook hook;
	int at = 1;
	bool fine;

	uc_version(&major, &minor);
	if (argc == 2 && !strcmp(argv[1], "--version")) {
		printf("libunicorn %u.%u, built with %d.%d.%d\n", major, minor, UC_VERSION_MAJOR, UC_VERSION_MINOR,
		       UC_VERSION_PATCH);
		return 0;
	}
	if (argc > 3 && !strcmp(argv[1], "--times")) {
		times = strtoul(argv[2], NULL, 10);
		at = 3;
	}
	if (at >= argc || argv[at][0] == '-' || !times) {
		fprintf(stderr, "usage: unicorn --version | [--times N] PROGRAM [ARGUMENT...]\n");
		return 2;
	}
	f = calloc(1, sizeof(*f));
	if (!f)
		return 1;
	fine = !uc_open(UC_ARCH_X86, UC_MODE_64, &f->uc) &&
	       !uc_hook_add(f->uc, &hook, UC_HOOK_INSN, (void *)serve, f, 1, 0, UC_X86_INS_SYSCALL);
	if (!fine)
		fail(f, "libunicorn cannot be set up");
	fine = fine && load(f, argv[at]);
	while (fine && times--)
		fine = execute(f, argc - at, argv + at);
	at = complain(f, argv[at]);
	if (f->uc)
		uc_close(f->uc);
	free(f);
	return at;
}
