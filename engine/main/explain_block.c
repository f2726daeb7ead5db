// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The hottest blocks of a bt run: for each the guest's instructions, beside each the host code made of it, coloured by what that is
 * for; between them the links that the translator has made.
 *
 * The file says which host bytes belong to which guest instruction (marks); what they are for is read off the instructions
 * themselves, by the rules of translator/bt_int.h: R14 and R15 are scratch, state and tables are at GS, an exit stores its number
 * at a known place. A branch is a check when what is before it is one.
 */
#include <capstone/capstone.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine/main/explain.h"

#define BYTES_MAX 65536
#define MARKS_MAX 4096
#define ROWS_SHOWN 28 /* guest instructions of a block */
#define HOST_SHOWN 14 /* host instructions of a guest one */

struct range {
	int64_t lo, hi;
};
struct layout {
	struct range site, slot, table, group;
	int64_t arg, flags;
	json_t *services;
};
struct mark {
	uint32_t host, guest;
};
struct block {
	uint32_t id, nmarks;
	uint64_t count, rip, host_at;
	size_t nguest, nhost;
	uint8_t *guest, *host;
	struct mark mark[MARKS_MAX];
	const char *why; /* is not drawn */
};
struct picture {
	struct explain *x;
	struct layout at;
	csh guest[2], host; /* 32- and 64-bit code */
	json_t *blocks;
	size_t shown;
	uint64_t nhost[EXPLAIN_KINDS]; /* host instructions by kind, of what is shown */
};

static bool in(const struct range *r, int64_t v)
{
	return v >= r->lo && v < r->hi;
}

static bool read_range(const json_t *gs, const char *name, struct range *r)
{
	json_t *a = json_object_get(gs, name);

	r->lo = json_integer_value(json_array_get(a, 0));
	r->hi = json_integer_value(json_array_get(a, 1));
	return json_array_size(a) == 2 && r->lo > 0 && r->hi > r->lo;
}

static bool read_layout(const json_t *o, struct layout *l)
{
	json_t *gs = json_object_get(o, "gs");

	l->arg = json_integer_value(json_object_get(gs, "arg"));
	l->flags = json_integer_value(json_object_get(gs, "flags"));
	l->services = json_object_get(o, "services");
	return read_range(gs, "site", &l->site) && read_range(gs, "slot", &l->slot) &&
	       read_range(gs, "table", &l->table) && read_range(gs, "group", &l->group) && l->arg > 0 && l->flags > 0 &&
	       json_is_array(l->services);
}

static int digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The bytes of a hexadecimal string; NULL when it is none. The caller frees. */
static uint8_t *read_hex(const json_t *o, const char *field, size_t *n)
{
	const char *s = json_string_value(json_object_get(o, field));
	size_t len = s ? strlen(s) : 0;
	uint8_t *p;

	if (!len || len % 2 || len / 2 > BYTES_MAX || !(p = malloc(len / 2)))
		return NULL;
	for (size_t i = 0; i < len / 2; i++) {
		int a = digit(s[2 * i]), b = digit(s[2 * i + 1]);

		if (a < 0 || b < 0) {
			free(p);
			return NULL;
		}
		p[i] = (uint8_t)(a << 4 | b);
	}
	*n = len / 2;
	return p;
}

static bool read_block(const json_t *o, struct block *b)
{
	json_t *marks = json_object_get(o, "marks"), *id = json_object_get(o, "id"),
	       *count = json_object_get(o, "count"), *m;
	size_t i;

	memset(b, 0, sizeof(*b));
	if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) > UINT32_MAX ||
	    !json_is_integer(count) || json_integer_value(count) < 0 || !explain_address(o, "rip", &b->rip) ||
	    !explain_address(o, "host_at", &b->host_at) || !json_array_size(marks) ||
	    json_array_size(marks) > MARKS_MAX)
		return false;
	b->id = (uint32_t)json_integer_value(id);
	b->count = (uint64_t)json_integer_value(count);
	json_array_foreach(marks, i, m)
	{
		b->mark[i].host = (uint32_t)json_integer_value(json_array_get(m, 0));
		b->mark[i].guest = (uint32_t)json_integer_value(json_array_get(m, 1));
	}
	b->nmarks = (uint32_t)json_array_size(marks);
	b->guest = read_hex(o, "guest", &b->nguest);
	b->host = read_hex(o, "host", &b->nhost);
	return b->guest && b->host;
}

static void drop_block(struct block *b)
{
	free(b->guest);
	free(b->host);
	b->guest = b->host = NULL;
}

/* Guest offset that host offset `off` belongs to: of the last mark at or before it. */
static uint32_t guest_of(const struct block *b, uint32_t off)
{
	uint32_t at = b->mark[0].guest;

	for (uint32_t i = 0; i < b->nmarks && b->mark[i].host <= off; i++)
		at = b->mark[i].guest;
	return at;
}

/* ---- what a host instruction is for ---- */

static bool scratch(unsigned reg)
{
	return reg == X86_REG_R14 || reg == X86_REG_R15 || reg == X86_REG_R14D || reg == X86_REG_R15D ||
	       reg == X86_REG_R14W || reg == X86_REG_R15W || reg == X86_REG_R14B || reg == X86_REG_R15B;
}

static const cs_x86_op *gs_operand(const cs_insn *i)
{
	for (unsigned k = 0; k < i->detail->x86.op_count; k++)
		if (i->detail->x86.operands[k].type == X86_OP_MEM &&
		    i->detail->x86.operands[k].mem.segment == X86_REG_GS)
			return &i->detail->x86.operands[k];
	return NULL;
}

struct code {
	enum explain_kind kind;
	char text[256];
};

/* The four instructions at the beginning that count entries (translator/bt_hot.c): a MOV of an address into R14 begins them. */
#define COUNTER_INSNS 4

/* The guest's own instruction on R14 or R15, whose values have come from memory for it? */
static bool same_insn(const cs_insn *i, const cs_insn *guest)
{
	return !strcmp(i->mnemonic, guest->mnemonic) && (strstr(guest->op_str, "r14") || strstr(guest->op_str, "r15"));
}

static void classify(const struct picture *p, const cs_insn *i, const cs_insn *guest, unsigned n,
		     enum explain_kind before, struct code *c)
{
	const cs_x86 *d = &i->detail->x86;
	const cs_x86_op *gs = gs_operand(i), *to = d->op_count ? &d->operands[0] : NULL;
	bool branch = i->id == X86_INS_JMP, conditional = !branch && i->mnemonic[0] == 'j';
	const char *note = "";

	c->kind = EXPLAIN_COPIED;
	if (n < COUNTER_INSNS) {
		c->kind = EXPLAIN_COUNTER;
	} else if (gs && gs->mem.base == X86_REG_INVALID && gs->mem.disp == p->at.arg) {
		json_int_t arg = d->op_count > 1 ? d->operands[1].imm & 0xffffffff : 0;
		const char *word = json_string_value(json_array_get(p->at.services, (size_t)(arg >> 28)));

		c->kind = word && (!strncmp(word, "callout", 7) || !strcmp(word, "access")) ? EXPLAIN_HELPER
											    : EXPLAIN_EXIT;
		note = word ? word : "";
	} else if (branch && gs && in(&p->at.slot, gs->mem.disp)) {
		c->kind = EXPLAIN_CHECK;
		note = "link slot";
	} else if (branch && gs) {
		c->kind = before == EXPLAIN_HELPER ? EXPLAIN_HELPER : EXPLAIN_EXIT;
	} else if (gs && (in(&p->at.site, gs->mem.disp) || in(&p->at.table, gs->mem.disp) ||
			  in(&p->at.group, gs->mem.disp))) {
		c->kind = EXPLAIN_CHECK;
		note = in(&p->at.site, gs->mem.disp) ? "window" : in(&p->at.table, gs->mem.disp) ? "soft TLB" : "group";
	} else if (gs && gs->mem.disp >= p->at.flags && gs->mem.disp < p->at.flags + 2) {
		c->kind = EXPLAIN_CHECK;
		note = "guest's flags";
	} else if (gs && gs->mem.base == X86_REG_INVALID && gs->mem.index == X86_REG_INVALID) {
		c->kind = EXPLAIN_CHECK; /* guest state that lives in memory */
	} else if (!gs && same_insn(i, guest)) {
		c->kind = EXPLAIN_COPIED;
	} else if (conditional) {
		c->kind = before == EXPLAIN_CHECK ? EXPLAIN_CHECK : EXPLAIN_COPIED;
	} else if (i->id == X86_INS_NOP || i->id == X86_INS_LAHF || i->id == X86_INS_SAHF ||
		   (to && to->type == X86_OP_REG && scratch(to->reg)) ||
		   (i->id == X86_INS_MOV && d->operands[1].type == X86_OP_REG && scratch(d->operands[1].reg) &&
		    to->type == X86_OP_REG) ||
		   (before == EXPLAIN_CHECK && i->id == X86_INS_ADD && to->type == X86_OP_REG &&
		    to->reg == X86_REG_AL)) {
		c->kind = EXPLAIN_CHECK; /* the last: AL + 7FH gives OF back (e_flags_load) */
	}
	snprintf(c->text, sizeof(c->text), "%s %s%s%s", i->mnemonic, i->op_str, *note ? "  ; " : "", note);
}

/* ---- drawing ---- */

/* The host's instructions of one guest instruction: a cell each. What is behind the block's body counts with its instruction. */
static void draw_host(struct picture *p, const struct block *b, const cs_insn *guest)
{
	uint32_t guest_off = (uint32_t)(guest->address - b->rip);
	const uint8_t *at = b->host;
	size_t left = b->nhost;
	uint64_t addr = b->host_at;
	cs_insn *i = cs_malloc(p->host);
	enum explain_kind before = EXPLAIN_COPIED;
	unsigned n = 0, drawn = 0, more = 0;
	bool any = false;

	fprintf(p->x->dot,
		"<td align=\"left\"><table border=\"0\" cellborder=\"0\" cellspacing=\"0\" cellpadding=\"1\">");
	while (i && left && cs_disasm_iter(p->host, &at, &left, &addr, i)) {
		struct code c;

		classify(p, i, guest, n++, before, &c);
		before = i->id == X86_INS_NOP ? before : c.kind;
		if (guest_of(b, (uint32_t)(i->address - b->host_at)) != guest_off)
			continue;
		p->nhost[c.kind]++;
		if (drawn == HOST_SHOWN) {
			more++;
			continue;
		}
		drawn++;
		any = true;
		fprintf(p->x->dot, "<tr><td align=\"left\" bgcolor=\"%s\"><font face=\"Courier\" point-size=\"9\">",
			explain_kinds[c.kind].colour);
		explain_html(p->x->dot, c.text);
		fprintf(p->x->dot, "</font></td></tr>");
	}
	if (i)
		cs_free(i, 1);
	if (more)
		fprintf(p->x->dot, "<tr><td align=\"left\">%u more</td></tr>", more);
	if (!any)
		fprintf(p->x->dot, "<tr><td align=\"left\">nothing</td></tr>");
	fprintf(p->x->dot, "</table></td></tr>");
}

static void draw_code(struct picture *p, const struct block *b, bool code64)
{
	const uint8_t *at = b->guest;
	size_t left = b->nguest;
	uint64_t addr = b->rip;
	cs_insn *i = cs_malloc(p->guest[code64]);
	unsigned n = 0, more = 0;

	while (i && left && cs_disasm_iter(p->guest[code64], &at, &left, &addr, i)) {
		if (n == ROWS_SHOWN) {
			more++;
			continue;
		}
		n++;
		fprintf(p->x->dot,
			"<tr><td align=\"left\" valign=\"top\" bgcolor=\"%s\"><font face=\"Courier\" "
			"point-size=\"10\">%" PRIx64 "  ",
			explain_kinds[EXPLAIN_GUEST].colour, i->address);
		explain_html(p->x->dot, i->mnemonic);
		fputc(' ', p->x->dot);
		explain_html(p->x->dot, i->op_str);
		fprintf(p->x->dot, "</font></td>");
		draw_host(p, b, i);
	}
	if (i)
		cs_free(i, 1);
	if (left && !more)
		fprintf(p->x->dot, "<tr><td align=\"left\" colspan=\"2\">%zu bytes that are no code any more</td></tr>",
			left);
	if (more)
		fprintf(p->x->dot, "<tr><td align=\"left\" colspan=\"2\">%u more instructions</td></tr>", more);
}

static bool draw_block(struct picture *p, const json_t *o, uint64_t all)
{
	struct block *b = malloc(sizeof(*b));
	json_int_t insns = json_integer_value(json_object_get(o, "insns"));
	bool code64 = json_integer_value(json_object_get(o, "bits")) == 64,
	     good = b && read_block(o, b) && insns > 0 && insns < 1000;
	double share;

	if (good) {
		share = all ? 100.0 * (double)b->count * (double)insns / (double)all : 0;
		fprintf(p->x->dot,
			"b%u [shape=plain, label=<<table border=\"1\" cellborder=\"1\" cellspacing=\"0\"><tr><td "
			"colspan=\"2\" bgcolor=\"#eeeeee\">"
			"<b>0x%" PRIx64 "</b>  entered %" PRIu64 " times, %" JSON_INTEGER_FORMAT
			" instructions, %.1f %% of all%s%s</td></tr>",
			b->id, b->rip, b->count, insns, share,
			json_is_false(json_object_get(o, "groups")) ? ", without shared checks" : "",
			json_is_false(json_object_get(o, "valid")) ? ", overwritten since" : "");
		draw_code(p, b, code64);
		fprintf(p->x->dot, "</table>>];\n");
		fprintf(p->x->text,
			"%14" PRIu64 "  0x%-16" PRIx64 " %4" JSON_INTEGER_FORMAT
			" instructions %6.1f %%  %zu bytes in %zu\n",
			b->count, b->rip, insns, share, b->nguest, b->nhost);
	}
	if (b)
		drop_block(b);
	free(b);
	return good;
}

static bool is_shown(const struct picture *p, json_int_t id)
{
	size_t i;
	json_t *o;

	json_array_foreach(p->blocks, i,
			   o) if (i < p->shown && json_integer_value(json_object_get(o, "id")) == id) return true;
	return false;
}

/* Links to blocks in the picture, and one arrow for all that lead out of it. */
static void draw_links(struct picture *p, const json_t *o)
{
	json_int_t id = json_integer_value(json_object_get(o, "id"));
	json_t *l;
	size_t i;
	unsigned out = 0;

	json_array_foreach(json_object_get(o, "links"), i, l)
	{
		json_int_t to = json_integer_value(json_object_get(l, "to"));
		const char *how = json_string_value(json_object_get(l, "how"));

		if (!to || !is_shown(p, to)) {
			out++;
			continue;
		}
		fprintf(p->x->dot, "b%" JSON_INTEGER_FORMAT " -> b%" JSON_INTEGER_FORMAT " [label=\"%s\", style=%s];\n",
			id, to, how && !strcmp(how, "patched") ? "jump" : "slot",
			how && !strcmp(how, "patched") ? "solid" : "dashed");
	}
	if (out)
		fprintf(p->x->dot,
			"o%" JSON_INTEGER_FORMAT
			" [shape=plaintext, label=\"%u to other blocks\"];\nb%" JSON_INTEGER_FORMAT
			" -> o%" JSON_INTEGER_FORMAT " [style=dotted];\n",
			id, out, id, id);
}

static enum status draw(struct picture *p, const json_t *o, const char *file)
{
	json_int_t all = json_integer_value(json_object_get(o, "insns")),
		   entries = json_integer_value(json_object_get(o, "entries"));
	json_t *b;
	size_t i;

	p->shown = json_array_size(p->blocks) < p->x->top ? json_array_size(p->blocks) : p->x->top;
	explain_begin(p->x, "blocks", "TB");
	fprintf(p->x->dot,
		"label=\"the %zu hottest of %" JSON_INTEGER_FORMAT " blocks: %" JSON_INTEGER_FORMAT
		" entries, %" JSON_INTEGER_FORMAT " guest instructions begun\"; labelloc=\"t\";\n",
		p->shown, json_integer_value(json_object_get(o, "blocks_made")), entries, all);
	fprintf(p->x->text,
		"%14" JSON_INTEGER_FORMAT "  entries of blocks, %" JSON_INTEGER_FORMAT
		" guest instructions begun in them\n",
		entries, all);
	json_array_foreach(
		p->blocks, i,
		b) if (i < p->shown &&
		       !draw_block(p, b, all > 0 ? (uint64_t)all : 0)) return error_set(&p->x->e, ST_BAD_FILE,
											"%s: block %zu cannot be read",
											file, i);
	json_array_foreach(p->blocks, i, b) if (i < p->shown) draw_links(p, b);
	explain_end(p->x, (1u << EXPLAIN_KINDS) - 1);
	fprintf(p->x->text, "host instructions in these:");
	for (unsigned k = EXPLAIN_COPIED; k < EXPLAIN_KINDS; k++)
		fprintf(p->x->text, "%s %" PRIu64 " %.*s", k == EXPLAIN_COPIED ? "" : ",", p->nhost[k],
			(int)strcspn(explain_kinds[k].word, ":"), explain_kinds[k].word);
	fputc('\n', p->x->text);
	return ST_OK;
}

enum status explain_block(struct explain *x, const char *file)
{
	json_t *o = explain_load(x, file);
	const char *type = json_string_value(json_object_get(o, "type"));
	struct picture p = {.x = x, .blocks = json_object_get(o, "blocks")};

	if (!o)
		return x->e.status;
	if (!type || strcmp(type, "hot-blocks") || json_integer_value(json_object_get(o, "schema")) != 1 ||
	    !json_is_array(p.blocks) || !read_layout(o, &p.at))
		error_set(&x->e, ST_BAD_FILE, "%s is not what \"run --path bt --hot-blocks FILE\" writes", file);
	else if (!json_array_size(p.blocks))
		error_set(&x->e, ST_BAD_FILE,
			  "%s has no blocks: nothing has run often enough to be translated (--bt-cold 0?)", file);
	else if (cs_open(CS_ARCH_X86, CS_MODE_32, &p.guest[0]) || cs_open(CS_ARCH_X86, CS_MODE_64, &p.guest[1]) ||
		 cs_open(CS_ARCH_X86, CS_MODE_64, &p.host) || cs_option(p.host, CS_OPT_DETAIL, CS_OPT_ON))
		error_set(&x->e, ST_NO_MEMORY, "libcapstone does not start");
	else
		draw(&p, o, file);
	for (unsigned i = 0; i < 2; i++)
		if (p.guest[i])
			cs_close(&p.guest[i]);
	if (p.host)
		cs_close(&p.host);
	json_decref(o);
	return x->e.status;
}
