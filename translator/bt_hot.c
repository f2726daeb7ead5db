/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Entries of blocks, counted by four instructions at the beginning of each that touch neither flags nor guest registers, and what
 * a person needs to see of the hottest: guest bytes, host bytes, the marks that say which belong together, links.
 *
 * The counters are exact for one vCPU. Two that enter the same block at the same moment may count as one, and a kick in the middle
 * of the counting makes it count again. A flush of the code cache forgets blocks with their counts.
 */
#include <inttypes.h>

#include "translator/bt_trans.h"
#include "translator/hot.h"

void bt_emit_hot(struct tctx *c)
{
	struct emit *e = &c->e;

	e_mov_imm(e, S1, (uint64_t)(uintptr_t)&c->bt->hot[c->block_index]);
	e_mem_op(e, true, 0x8b, S0, S1, NO_REG, 1, 0);
	e_lea(e, true, S0, S0, NO_REG, 1, 1);
	e_mem_op(e, true, 0x89, S0, S1, NO_REG, 1, 0);
}

static uint64_t heat(const struct bt *bt, uint32_t i)
{
	return bt->hot[i] * bt->block[i].ninsns;
}

/* Indices of the hottest blocks, hottest first; how many. */
static unsigned hottest(const struct bt *bt, uint32_t *out, unsigned max)
{
	unsigned n = 0;

	for (uint32_t i = 1; i < bt->nblocks; i++) {
		unsigned at = n;

		if (!bt->hot[i] || (n == max && heat(bt, i) <= heat(bt, out[n - 1])))
			continue;
		n += n < max;
		at = at < n ? at : n - 1;
		for (; at && heat(bt, i) > heat(bt, out[at - 1]); at--)
			out[at] = out[at - 1];
		out[at] = i;
	}
	return n;
}

static void write_hex(FILE *f, const uint8_t *p, uint64_t n)
{
	for (uint64_t k = 0; p && k < n; k++)
		fprintf(f, "%02x", p[k]);
}

/* The bytes as they are in RAM now. */
static void write_guest(const struct bt *bt, const struct bt_block *b, FILE *f)
{
	const struct mem *m = &bt->vm->mem;
	uint64_t first = b->two_pages ? 4096 - (b->gpa & 0xfff) : b->guest_len;

	first = first < b->guest_len ? first : b->guest_len;
	write_hex(f, mem_ram(m, b->gpa, first), first);
	if (first < b->guest_len)
		write_hex(f, mem_ram(m, b->gpa2_page, b->guest_len - first), b->guest_len - first);
}

static void write_marks(const struct bt_block *b, FILE *f)
{
	for (uint32_t k = 0; k < b->nmarks; k++)
		fprintf(f, "%s[%u,%u]", k ? "," : "", b->marks[k].host_off, b->marks[k].guest_off);
}

/* The block at a link's target: where the jump is patched to, or the first with that address and key. 0: none. */
static uint32_t link_target(const struct bt *bt, const struct bt_link *l)
{
	const struct bt_block *from = &bt->block[l->from];

	if (l->to)
		return l->to;
	for (uint32_t i = 1; i < bt->nblocks; i++)
		if (bt->block[i].gva == l->target && bt->block[i].key == from->key && bt->block[i].valid)
			return i;
	return 0;
}

static void write_links(const struct bt *bt, uint32_t block, FILE *f)
{
	const char *sep = "";

	for (uint32_t k = 1; k < bt->nlinks; k++) {
		const struct bt_link *l = &bt->link[k];

		if (l->from != block)
			continue;
		fprintf(f, "%s{\"rip\":\"0x%" PRIx64 "\",\"to\":%u,\"how\":\"%s\"}", sep, l->target, link_target(bt, l),
			l->to ? "patched" : "slot");
		sep = ",";
	}
}

static void write_block(const struct bt *bt, uint32_t i, FILE *f)
{
	const struct bt_block *b = &bt->block[i];

	fprintf(f,
		"{\"id\":%u,\"count\":%" PRIu64 ",\"rip\":\"0x%" PRIx64 "\",\"physical\":\"0x%" PRIx64
		"\",\"bits\":%d,\"user\":%s,"
		"\"groups\":%s,\"valid\":%s,\"insns\":%u,\"guest\":\"",
		i, bt->hot[i], b->gva, b->gpa, b->key & BK_CODE64 ? 64 : 32, b->key & BK_USER ? "true" : "false",
		b->key & BK_NOGROUP ? "false" : "true", b->valid ? "true" : "false", b->ninsns);
	write_guest(bt, b, f);
	fprintf(f, "\",\"host_at\":\"0x%" PRIx64 "\",\"host\":\"", (uint64_t)(uintptr_t)bt_host(bt, b->host));
	write_hex(f, bt_host(bt, b->host), b->host_end - b->host);
	fprintf(f, "\",\"marks\":[");
	write_marks(b, f);
	fprintf(f, "],\"links\":[");
	write_links(bt, i, f);
	fprintf(f, "]}");
}

void hot_write(const struct vm *vm, unsigned n, FILE *f)
{
	const struct bt *bt = vm->path_vm[PATH_BT];
	uint64_t entries = 0, insns = 0, flushes = 0;
	uint32_t top[HOT_BLOCKS_MAX];
	unsigned found = 0;

	if (bt && bt->hot) {
		found = hottest(bt, top, n < HOT_BLOCKS_MAX ? n : HOT_BLOCKS_MAX);
		for (uint32_t i = 1; i < bt->nblocks; i++) {
			entries += bt->hot[i];
			insns += heat(bt, i);
		}
	}
	for (unsigned i = 0; i < vm->ncpus; i++)
		flushes += vm->vcpu[i]->count.bt_cache_flushes;
	fprintf(f,
		"{\"schema\":1,\"type\":\"hot-blocks\",\"vcpus\":%u,\"blocks_made\":%u,\"entries\":%" PRIu64
		",\"insns\":%" PRIu64 ",\"cache_flushes\":%" PRIu64
		",\n\"gs\":{\"site\":[%llu,%llu],\"slot\":[%llu,%llu],\"table\":[%d,%d],\"arg\":%d,\"flags\":%d,"
		"\"group\":[%d,%d]},\n\"services\":[\"indirect\",\"link\",\"access\",\"callout\",\"callout-end\","
		"\"boundary\"],\n\"blocks\":[",
		vm->ncpus, bt ? bt->nblocks - 1 : 0, entries, insns, flushes, (unsigned long long)BT_SITES_OFFSET,
		(unsigned long long)BT_SLOTS_OFFSET, (unsigned long long)BT_SLOTS_OFFSET,
		(unsigned long long)(BT_SLOTS_OFFSET + BT_MAX_SLOTS * 8ull), GS_CPU(tlb), GS_CPU(big_written),
		GS_CPU(arg), GS_CPU(fl), GS_CPU(group), GS_CPU(group) + 16 * 8);
	for (unsigned k = 0; k < found; k++) {
		fputs(k ? ",\n" : "\n", f);
		write_block(bt, top[k], f);
	}
	fputs("\n]}\n", f);
}
