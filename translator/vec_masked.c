/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Vector instructions that touch memory by elements: masked moves and gathers. A copy with another address would access
 * what the mask leaves out, so they are done here element by element.
 *
 * Masked stores check every element's rights before the first is written. Gathers make their progress visible when an
 * element faults, as the manual wants: elements done are in the destination, their mask bits clear; the instruction
 * starts again where it stopped (SDM 2C VGATHERDPS).
 */
#include <Zydis/Mnemonic.h>

#include "translator/system.h"
#include "translator/vec.h"

static uint64_t trunc_addr(uint64_t off, const struct insn *i)
{
	return i->addrsize == 8 ? off : i->addrsize == 4 ? (uint32_t)off : (uint16_t)off;
}

/* MASKMOVQ, (V)MASKMOVDQU: bytes whose mask byte has its top bit set, to DS:RDI (or another segment). */
enum xr vec_maskmov_bytes(struct vcpu *v, const struct insn *i)
{
	bool mmx = i->mnemonic == ZYDIS_MNEMONIC_MASKMOVQ;
	unsigned n = mmx ? 8 : 16, src, mask, top = 0;
	uint8_t s[32], m[32], *x;
	uint64_t off;
	enum xr r = vec_precheck(v, i);

	if (r != XR_NEXT)
		return r;
	x = vec_image(v);
	/* the two registers are ModRM.reg and ModRM.rm */
	src = (i->modrm >> 3) & 7;
	mask = i->modrm & 7;
	if (mmx) {
		r = vec_check_pending(v);
		if (r != XR_NEXT)
			return r;
		/* the image keeps the registers in stack order: MMn is ST((n - TOP) mod 8) */
		top = (vec_get16(x + XS_FSW) >> 11) & 7;
		vec_copy(s, x + XS_ST + 16 * ((src - top) & 7), 8);
		vec_copy(m, x + XS_ST + 16 * ((mask - top) & 7), 8);
	} else {
		if (i->enc == ENC_VEX && i->code_bits == 64) {
			const uint8_t *p = i->raw + i->vex_off;

			src |= p[1] & 0x80 ? 0 : 8;
			mask |= p[0] == 0xc4 && !(p[1] & 0x20) ? 8 : 0;
		} else if (i->enc == ENC_LEGACY) {
			src |= i->rex & 4 ? 8 : 0;
			mask |= i->rex & 1 ? 8 : 0;
		}
		vec_read_reg(v, src, s);
		vec_read_reg(v, mask, m);
	}
	off = trunc_addr(v->regs.gpr[R_DI], i);
	for (unsigned k = 0; k < n; k++)
		if ((m[k] & 0x80) && !vec_probe_write(v, i->seg, trunc_addr(off + k, i), 1))
			return XR_FAULT;
	for (unsigned k = 0; k < n; k++)
		if ((m[k] & 0x80) && !mem_store(v, i->seg, trunc_addr(off + k, i), s + k, 1))
			return XR_FAULT;
	if (mmx) {
		/* every MMX instruction sets TOP to 0 and all tags to valid (SDM 1 9.5.1) */
		x = vec_image(v);
		vec_set_top(x, 0);
		x[XS_FTW] = 0xff;
	}
	return XR_NEXT;
}

static uint64_t lane(const uint8_t *p, unsigned size)
{
	return size == 8 ? vec_get64(p) : vec_get32(p);
}

/* VMASKMOVPS/PD, VPMASKMOVD/Q: op[1] is the mask; op[0] or op[2] the memory. */
enum xr vec_maskmov_lanes(struct vcpu *v, const struct insn *i)
{
	unsigned size = i->mnemonic == ZYDIS_MNEMONIC_VMASKMOVPD || i->mnemonic == ZYDIS_MNEMONIC_VPMASKMOVQ ? 8 : 4;
	bool store = i->op[0].kind == OPK_MEM;
	uint8_t data[32], mask[32];
	unsigned bytes;
	uint64_t ea;
	enum xr r = vec_precheck(v, i);

	if (r != XR_NEXT)
		return r;
	bytes = i->op[1].kind == OPK_YMM ? 32 : 16;
	ea = insn_ea(v, i);
	vec_read_reg(v, i->op[1].reg, mask);
	if (store) {
		vec_read_reg(v, i->op[2].reg, data);
		for (unsigned k = 0; k < bytes; k += size)
			if ((mask[k + size - 1] & 0x80) && !vec_probe_write(v, i->seg, trunc_addr(ea + k, i), size))
				return XR_FAULT;
		for (unsigned k = 0; k < bytes; k += size)
			if ((mask[k + size - 1] & 0x80) && !mem_store(v, i->seg, trunc_addr(ea + k, i), data + k, size))
				return XR_FAULT;
		return XR_NEXT;
	}
	vec_zero(data, sizeof(data));
	for (unsigned k = 0; k < bytes; k += size)
		if ((mask[k + size - 1] & 0x80) && !mem_load(v, i->seg, trunc_addr(ea + k, i), data + k, size))
			return XR_FAULT;
	vec_write_reg(v, i->op[0].reg, data, 32);
	return XR_NEXT;
}

/* op[0] destination, op[1] memory with a vector of indices, op[2] mask. */
enum xr vec_gather(struct vcpu *v, const struct insn *i)
{
	unsigned size, isize, n, vl;
	uint8_t dst[32], idx[32], mask[32];
	uint64_t base;
	enum xr r = vec_precheck(v, i);
	const uint8_t *p = i->raw + i->vex_off;

	if (r != XR_NEXT)
		return r;
	if (i->op[0].reg == i->index || i->op[0].reg == i->op[2].reg || i->index == i->op[2].reg)
		return fault_set(v, VEC_UD);
	switch (i->mnemonic) {
	case ZYDIS_MNEMONIC_VGATHERDPS:
	case ZYDIS_MNEMONIC_VPGATHERDD:
		size = 4, isize = 4;
		break;
	case ZYDIS_MNEMONIC_VGATHERDPD:
	case ZYDIS_MNEMONIC_VPGATHERDQ:
		size = 8, isize = 4;
		break;
	case ZYDIS_MNEMONIC_VGATHERQPS:
	case ZYDIS_MNEMONIC_VPGATHERQD:
		size = 4, isize = 8;
		break;
	default:
		size = 8, isize = 8;
		break;
	}
	vl = p[2] & 4 ? 32 : 16; /* three-byte VEX: the opcodes are in map 2 */
	n = vl / (size > isize ? size : isize);
	vec_read_reg(v, i->op[0].reg, dst);
	vec_read_reg(v, i->index, idx);
	vec_read_reg(v, i->op[2].reg, mask);
	base = (i->base == NO_REG ? 0 : v->regs.gpr[i->base & 15]) + (uint64_t)i->disp;
	/* every mask element becomes all ones or all zeros first, so that a second start finds the same choice */
	for (unsigned k = 0; k < n * size; k++)
		mask[k] = mask[k / size * size + size - 1] & 0x80 ? 0xff : 0;
	for (unsigned k = 0; k < n; k++) {
		uint64_t x = lane(idx + k * isize, isize);

		if (isize == 4)
			x = (uint64_t)(int64_t)(int32_t)x;
		if (!mask[k * size])
			continue;
		if (!mem_load(v, i->seg, trunc_addr(base + x * i->scale, i), dst + k * size, size)) {
			vec_write_reg(v, i->op[0].reg, dst, 32);
			vec_write_reg(v, i->op[2].reg, mask, 32);
			return XR_FAULT;
		}
		for (unsigned b = 0; b < size; b++)
			mask[k * size + b] = 0;
	}
	for (unsigned b = n * size; b < 32; b++)
		dst[b] = 0;
	vec_zero(mask, sizeof(mask));
	vec_write_reg(v, i->op[0].reg, dst, 32);
	vec_write_reg(v, i->op[2].reg, mask, 32);
	return XR_NEXT;
}
