# SPDX-License-Identifier: GPL-2.0-or-later
# make lockstep [N=50000000] [GUEST_ARCH=amd64|i386] [LOCKSTEP_ARGS="--serial none"]: the interpreter and the translator
# boot the Debian kernel side by side; stops at the first difference. N is a number of guest instructions.
GUEST_ARCH ?= amd64
LOCKSTEP_APPEND ?= console=ttyS0 panic=-1 steelyard.poweroff
LOCKSTEP_ARGS ?=
LOCKSTEP_N := $(if $(filter command% environment%,$(origin N)),$(N),50000000)

lockstep: all guest
	$(Q)$(O)/steelyard run --lockstep interp,bt --lockstep-insns $(LOCKSTEP_N) --memory 256M \
		--kernel $(GUEST)/$(GUEST_ARCH)/vmlinuz --initrd $(GUEST)/$(GUEST_ARCH)/initrd \
		--append "$(LOCKSTEP_APPEND)" $(LOCKSTEP_ARGS)
.PHONY: lockstep
