/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * x87, SSE, AVX and AVX-512 state between KVM and a vCPU: both have the processor's standard XSAVE format.
 *
 * struct vcpu has 4096 bytes of it, enough for all that a guest is offered (engine/cpuid.c). KVM may have more, for what it could give a
 * guest (AMX), and then reads and writes so much in any case (KVM_CAP_XSAVE2, Linux 5.17): the buffer is as long as KVM says, and
 * what lies behind the guest's state is in its initial state.
 */
#include <stdlib.h>
#include <string.h>

#include "fastpath/kvm_int.h"

#define SOFTWARE_FROM 464 /* 48 bytes are software's (SDM 1 10.5.1), and Linux uses them */
#define SOFTWARE_TO 512
#define BYTES_MAX (1 << 20) /* no processor has as much */

bool kvm_xsave_init(struct kvm_xsave_buffer *b, const struct kvm_sys *sys, int vm_fd)
{
	int bytes = sys->ioctl(sys, vm_fd, KVM_CHECK_EXTENSION, (void *)(uintptr_t)KVM_CAP_XSAVE2);

	_Static_assert(sizeof(struct kvm_xsave) == XSAVE_AREA_BYTES, "one format");
	b->sys = sys;
	b->wide = bytes > XSAVE_AREA_BYTES && bytes <= BYTES_MAX;
	b->area = calloc(1, b->wide ? (size_t)bytes : XSAVE_AREA_BYTES);
	return b->area != NULL;
}

void kvm_xsave_fini(struct kvm_xsave_buffer *b)
{
	free(b->area);
	b->area = NULL;
}

bool kvm_xsave_send(struct kvm_xsave_buffer *b, int cpu_fd, const uint8_t xsave[XSAVE_AREA_BYTES])
{
	memcpy(b->area, xsave, XSAVE_AREA_BYTES);
	return b->sys->ioctl(b->sys, cpu_fd, KVM_SET_XSAVE, b->area) == 0;
}

bool kvm_xsave_fetch(struct kvm_xsave_buffer *b, int cpu_fd, uint8_t *xsave, size_t bytes)
{
	if (b->sys->ioctl(b->sys, cpu_fd, b->wide ? KVM_GET_XSAVE2 : KVM_GET_XSAVE, b->area) != 0)
		return false;
	memcpy(xsave, b->area, bytes);
	memset(xsave + SOFTWARE_FROM, 0, SOFTWARE_TO - SOFTWARE_FROM);
	return true;
}
