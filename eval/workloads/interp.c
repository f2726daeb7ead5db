/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A bytecode interpreter that adds up Collatz lengths: one indirect branch per bytecode. */
#include "workload.h"

enum op { LOADI, MOV, ADD, SUB, MULI, SHR, ANDI, JZ, JNZ, JLT, JMP, HALT };
struct code {
	uint8_t op, a, b;
	int16_t imm;
};

/* r0: n, r1: limit, r2: x, r3: steps, r4: scratch, r5: one */
static const struct code program[] = {
	{LOADI, 5, 0, 1}, /*  0 */
	{MOV, 2, 0, 0},   /*  1 outer: x = n */
	{MOV, 4, 2, 0},   /*  2 inner: t = x - 1 */
	{SUB, 4, 5, 0},   /*  3 */
	{JZ, 4, 0, 7},    /*  4 -> 12: x is one */
	{MOV, 4, 2, 0},   /*  5 */
	{ANDI, 4, 0, 1},  /*  6 */
	{JZ, 4, 0, 8},    /*  7 -> 16: even */
	{MULI, 2, 0, 3},  /*  8 */
	{ADD, 2, 5, 0},   /*  9 */
	{ADD, 3, 5, 0},   /* 10 */
	{JMP, 0, 0, -10}, /* 11 -> 2 */
	{ADD, 0, 5, 0},   /* 12 next n */
	{JLT, 0, 1, -13}, /* 13 -> 1 */
	{HALT, 0, 0, 0},  /* 14 */
	{HALT, 0, 0, 0},  /* 15 */
	{SHR, 2, 0, 1},   /* 16 */
	{ADD, 3, 5, 0},   /* 17 */
	{JMP, 0, 0, -17}, /* 18 -> 2 */
};

static uint32_t execute(const struct code *code, uint32_t from, uint32_t to)
{
	static const void *const label[] = {&&loadi, &&mov, &&add, &&sub, &&muli, &&shr,
					    &&andi,  &&jz,  &&jnz, &&jlt, &&jmp,  &&halt};
	uint32_t r[8] = {from, to};
	const struct code *c = code;

#define NEXT() goto *label[c->op]
	NEXT();
loadi:
	r[c->a] = (uint32_t)c->imm;
	c++;
	NEXT();
mov:
	r[c->a] = r[c->b];
	c++;
	NEXT();
add:
	r[c->a] += r[c->b];
	c++;
	NEXT();
sub:
	r[c->a] -= r[c->b];
	c++;
	NEXT();
muli:
	r[c->a] *= (uint32_t)c->imm;
	c++;
	NEXT();
shr:
	r[c->a] >>= c->imm;
	c++;
	NEXT();
andi:
	r[c->a] &= (uint32_t)c->imm;
	c++;
	NEXT();
jz:
	c += r[c->a] ? 1 : c->imm + 1;
	NEXT();
jnz:
	c += r[c->a] ? c->imm + 1 : 1;
	NEXT();
jlt:
	c += r[c->a] < r[c->b] ? c->imm + 1 : 1;
	NEXT();
jmp:
	c += c->imm + 1;
	NEXT();
halt:
	return r[3];
}

uint64_t wl_interp(uint64_t scale)
{
	uint64_t sum = 0;

	for (uint64_t rep = 0; rep < 5 * scale; rep++)
		sum = wl_mix(sum, execute(program, 1 + (uint32_t)rep, 1001 + (uint32_t)rep));
	return sum;
}
