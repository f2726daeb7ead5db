/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A window that missed, filled again without leaving generated code: most misses find their page in the inline TLB, which
 * all access instructions share, because another one has been there since the last flush, or in the table of large mappings. That
 * table also serves the instructions that missed the inline TLB itself.
 *
 * Entered by a jump from an access's stub: S0 is the linear address, bt_cpu.arg names the record, the guest's flags are dead
 * or saved. What neither has got, a window that has moved often enough to be judged, and a write window that would change its region of RAM go
 * on to C (bt_access). A signal in here makes it begin again in C: see bt_signal.c.
 */
#include "translator/bt_int.h"

#define SITE_OFF(field) "i"(BT_SITES_OFFSET + offsetof(struct bt_site, field))
#define REC_OFF(field) "i"(offsetof(struct bt_rec, field))

/* r14 := host address of the linear address in r15, by bt_cpu.big; rdx is lost. rax: the record. */
#define BIG_LOOKUP                                                                                                              \
	"mov %%r15, %%rdx\n"                                                                                                    \
	"shr %[bigshift], %%rdx\n"                                                                                              \
	"and %[bigmask], %%edx\n"                                                                                               \
	"shl $4, %%edx\n"                                                                                                       \
	"add %c[big](%%rax), %%edx\n"                                                                                           \
	"mov %%r15, %%r14\n"                                                                                                    \
	"sub %%gs:(%%rdx), %%r14\n"                                                                                             \
	"cmp $0x1fffff, %%r14\n"                                                                                                \
	"ja bt_refill_slow\n"                                                                                                   \
	"add %%gs:8(%%rdx), %%r14\n"
#define BIG_OPERANDS [bigshift] "i"(BT_BIG_SHIFT), [bigmask] "i"(BT_BIG_SIZE - 1), [big] REC_OFF(big)

BT_NAKED void bt_refill(void)
{
	/* the record, the site, its TLB entry */
	__asm__ volatile("mov %%rax, %%gs:%c[t0]\n"
			 "mov %%rcx, %%gs:%c[t1]\n"
			 "mov %%rdx, %%gs:%c[t2]\n"
			 "mov %%r14, %%gs:%c[s1]\n"
			 "mov %%r15, %%gs:%c[s0]\n"
			 ".globl bt_refill_saved\n.hidden bt_refill_saved\n"
			 "bt_refill_saved:\n"
			 /* rax: the record; rcx: the site's offset */
			 "mov %%gs:%c[arg], %%eax\n"
			 "and $0x0fffffff, %%eax\n"
			 "imul %[recsize], %%rax, %%rax\n"
			 "add %%gs:%c[recs], %%rax\n"
			 "cmpb $0, %c[inline_tlb](%%rax)\n"
			 "jne bt_refill_inline\n"
			 "mov %c[site](%%rax), %%ecx\n"
			 "shl %[siteshift], %%rcx\n"
			 /* in the list of what a flush forgets */
			 "testb $1, %%gs:%c[listed](%%rcx)\n"
			 "jnz 1f\n"
			 ".globl bt_refill_list\n.hidden bt_refill_list\n"
			 "bt_refill_list:\n"
			 "orb $1, %%gs:%c[listed](%%rcx)\n"
			 "mov %%gs:%c[list_n], %%edx\n"
			 "mov %%gs:%c[list_id], %%r14\n"
			 "shr %[siteshift], %%rcx\n"
			 "mov %%ecx, (%%r14,%%rdx,4)\n"
			 "shl %[siteshift], %%rcx\n"
			 "incl %%gs:%c[list_n]\n"
			 ".globl bt_refill_listed\n.hidden bt_refill_listed\n"
			 "bt_refill_listed:\n"
			 "1:\n"
			 /* rdx: the TLB entry; S0: offset in its page */
			 "mov %%r15d, %%edx\n"
			 "shr $8, %%edx\n"
			 "and %[mask], %%edx\n"
			 "add %c[table](%%rax), %%edx\n"
			 "sub %%gs:(%%rdx), %%r15\n"
			 "cmp %c[last](%%rax), %%r15\n"
			 "ja 6f\n"
			 "mov %%gs:8(%%rdx), %%r14\n"
			 "mov %%gs:(%%rdx), %%rdx\n"
			 "jmp 8f\n"
			 "6:\n" /* the page may be part of a large one */
			 "mov %%gs:%c[s0], %%r15\n"
			 BIG_LOOKUP
			 "mov %%r15, %%rdx\n"
			 "and $-4096, %%rdx\n"
			 "and $4095, %%r15d\n"
			 "cmp %c[last](%%rax), %%r15\n"
			 "ja bt_refill_slow\n"
			 "sub %%r15, %%r14\n"
			 "8:\n"
			 :
			 : [t0] "i"(GS_CPU(tmp[0])), [t1] "i"(GS_CPU(tmp[1])), [t2] "i"(GS_CPU(tmp[2])),
			   [s1] "i"(GS_CPU(s1)), [s0] "i"(GS_CPU(s0)), [arg] "i"(GS_CPU(arg)),
			   [recsize] "i"(sizeof(struct bt_rec)), [recs] "i"(GS_CPU(recs)), [site] REC_OFF(site),
			   [siteshift] "i"(__builtin_ctz(sizeof(struct bt_site))), [listed] SITE_OFF(listed),
			   [list_n] "i"(GS_CPU(sites[0].n)), [list_id] "i"(GS_CPU(sites[0].id)),
			   [mask] "i"((BT_TLB_SIZE - 1) << 4), [table] REC_OFF(table), [last] REC_OFF(last),
			   [inline_tlb] REC_OFF(inline_tlb), BIG_OPERANDS);
	/* a window for writing stays in its region */
	__asm__ volatile("testb %[acc_write], %c[acc](%%rax)\n"
			 "jz 2f\n"
			 "mov %%r14, %%gs:%c[target]\n"
			 "sub %%gs:%c[ram], %%r14\n"
			 "shr %[regionshift], %%r14\n"
			 "inc %%r14d\n"
			 "cmp %%gs:%c[region](%%rcx), %%r14d\n"
			 "jne bt_refill_slow\n"
			 "mov %%gs:%c[target], %%r14\n"
			 "2:\n"
			 :
			 : [acc_write] "i"(ACC_WRITE), [acc] REC_OFF(acc), [ram] "i"(GS_CPU(ram)),
			   [regionshift] "i"(BT_REGION_SHIFT), [region] SITE_OFF(region), [target] "i"(GS_CPU(target)));
	/* the new window; one that has moved often enough: C looks at how often */
	__asm__ volatile("cmpw %[moves_max], %%gs:%c[moves](%%rcx)\n"
			 "jae bt_refill_slow\n"
			 "incw %%gs:%c[moves](%%rcx)\n"
			 "movq $0, %%gs:%c[limit](%%rcx)\n"
			 "mov %%r14, %%gs:%c[hva](%%rcx)\n"
			 "mov %%rdx, %%gs:%c[gva](%%rcx)\n"
			 "movl $4096, %%gs:%c[len](%%rcx)\n"
			 "add %%r14, %%r15\n"
			 "mov %c[disp](%%rax), %%r14\n"
			 "sub %%rdx, %%r14\n"
			 "mov %%r14, %%gs:%c[bias](%%rcx)\n"
			 "mov %c[last](%%rax), %%r14\n"
			 "inc %%r14\n"
			 "mov %%r14, %%gs:%c[limit](%%rcx)\n"
			 "incq %%gs:%c[fills]\n"
			 "bt_refill_done:\n"
			 "mov %c[resume](%%rax), %%eax\n"
			 "add %%gs:%c[cache], %%rax\n"
			 "mov %%rax, %%gs:%c[target]\n"
			 "mov %%gs:%c[t0], %%rax\n"
			 "mov %%gs:%c[t1], %%rcx\n"
			 "mov %%gs:%c[t2], %%rdx\n"
			 "mov %%gs:%c[s1], %%r14\n"
			 "jmp *%%gs:%c[target]\n"
			 "bt_refill_inline:\n" /* S0 := S0's place in a large page; entries and instructions may end at its end */
			 BIG_LOOKUP
			 "and $0x1fffff, %%r15d\n"
			 "lea -2093056(%%r15), %%rdx\n" /* 2 MiB - 4096 */
			 "cmp %c[last](%%rax), %%rdx\n"
			 "jg bt_refill_slow\n"
			 "mov %%r14, %%r15\n"
			 "jmp bt_refill_done\n"
			 ".globl bt_refill_slow\n.hidden bt_refill_slow\n"
			 "bt_refill_slow:\n"
			 "mov %%gs:%c[t0], %%rax\n"
			 "mov %%gs:%c[t1], %%rcx\n"
			 "mov %%gs:%c[t2], %%rdx\n"
			 "mov %%gs:%c[s1], %%r14\n"
			 "mov %%gs:%c[s0], %%r15\n"
			 "jmp bt_exit_mem\n"
			 :
			 : [limit] SITE_OFF(limit), [gva] SITE_OFF(gva), [moves_max] "i"(BT_USER_MOVES - 1),
			   [moves] SITE_OFF(moves), [hva] SITE_OFF(hva), [len] SITE_OFF(len),
			   [disp] REC_OFF(disp), [bias] SITE_OFF(bias), [last] REC_OFF(last),
			   [fills] "i"(offsetof(struct vcpu, count.bt_site_fills)), [resume] REC_OFF(resume),
			   [cache] "i"(GS_CPU(cache)), [target] "i"(GS_CPU(target)), [t0] "i"(GS_CPU(tmp[0])),
			   [t1] "i"(GS_CPU(tmp[1])), [t2] "i"(GS_CPU(tmp[2])), [s1] "i"(GS_CPU(s1)), [s0] "i"(GS_CPU(s0)),
			   BIG_OPERANDS);
}
