/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The descriptors that user code of a case can name. The first rows are what every Linux process has in its descriptor
 * table; the rest are entries of the local table, which the native child writes with modify_ldt() and the guest finds in
 * its own: 16-bit code and stacks, limits in the middle of the window, both kinds of expand-down, absent ones.
 *
 * A data segment has base 0 or SEG16_BASE, so that 16-bit offsets reach the data pages at their ordinary alias.
 */
#include "tests/diff/diff.h"

#define DESC(s, a, b, l) {.sel = (s), .attr = (a), .limit = (l), .base = (b)}
#define LDT_DATA(s, a, l) DESC(s, (a) | SA_AVL, SEG16_BASE, l)
#define LDT_CODE(s, a) DESC(s, (a) | SA_AVL, CODE_BASE, 2 * CODE_BYTES - 1)
/* The window at WIN_MIDDLE is cut here: */
#define LIMIT (DATA_LOW + 0x2000 + 3)

const struct x86_seg seg_rows[] = {
	DESC(SEL_CODE32, 0xfb | SA_DB | SA_G, 0, 0xffffffff),
	DESC(SEL_DATA, 0xf3 | SA_DB | SA_G, 0, 0xffffffff),
	DESC(SEL_CODE64, 0xfb | SA_L | SA_G, 0, 0xffffffff),
	DESC(GS_SELECTOR, 0xf3 | SA_DB | SA_G | SA_AVL, GS_BASE, 0xffffffff),
	LDT_CODE(SEL_CODE16, 0xfb),
	LDT_DATA(SEL_DATA16, 0xf3, 0xffff),
	LDT_CODE(SEL_CODE32B, 0xfb | SA_DB),
	LDT_DATA(SEL_LIMIT, 0xf3 | SA_DB, LIMIT),
	LDT_DATA(SEL_DOWN32, 0xf7 | SA_DB, LIMIT - 8),
	LDT_DATA(SEL_DOWN16, 0xf7, LIMIT - 8),
	LDT_DATA(SEL_READ_ONLY, 0xf1 | SA_DB, 0xffff),
	LDT_DATA(SEL_ABSENT, 0x73 | SA_DB, 0xffff),
	LDT_CODE(SEL_EXEC_ONLY, 0xf9 | SA_DB),
	LDT_CODE(SEL_ABSENT_CONF, 0x7f | SA_DB),
	LDT_CODE(SEL_ABSENT_CODE, 0x7b | SA_DB),
	/* 0x5f is empty */
	DESC(SEL_FLAT_LDT, 0xf3 | SA_DB | SA_G | SA_AVL, 0, 0xffffffff),
};
const unsigned seg_row_count = sizeof(seg_rows) / sizeof(seg_rows[0]);

const struct x86_seg *seg_find(uint16_t sel)
{
	for (unsigned i = 0; i < seg_row_count; i++)
		if ((seg_rows[i].sel | 3) == (sel | 3))
			return &seg_rows[i];
	return NULL;
}

uint64_t seg_base(uint16_t sel)
{
	const struct x86_seg *s = seg_find(sel);

	return s ? s->base : 0;
}
