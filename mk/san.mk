# SPDX-License-Identifier: GPL-2.0-or-later
# SAN=address, undefined, thread, or address,undefined: a build with gcc's sanitizers, in build/san-$(SAN) or O=DIR.
#
#	make SAN=address,undefined tests guest-test diff fuzz-replay
#	make SAN=thread guest-test GUESTS="smp irq"
#
# make check ends with a stage of its own (check-san): address and undefined in one build.
#
# Generated code is in no sanitizer's sight. The C code around it runs under address and undefined on both paths, although
# the guest's vector registers are live while it does: gcc puts those checks inline, in general registers, and the runtime
# is called from where libc is called, which is behind vcpu_vec_sync(). Two things that are not so are off: ASan's stack
# frames on a heap of its own, and going on behind a report of UBSan. What cannot be had is a row of mk/san.tbl.
#
# Every report ends the process with SIGABRT, so that no exit status of a guest looks like one.
ifneq ($(SAN),)
export ASAN_OPTIONS ?= abort_on_error=1:exitcode=134:detect_stack_use_after_return=0
export UBSAN_OPTIONS ?= abort_on_error=1:print_stacktrace=1
export TSAN_OPTIONS ?= abort_on_error=1:exitcode=134:second_deadlock_stack=1
ifneq ($(filter clang%,$(notdir $(CC))),)
$(error SAN=$(SAN) is for gcc: clang has make fuzz)
endif
ifeq ($(MAKELEVEL),0)
$(shell sh mk/san.sh limits $(SAN) >&2)
endif
endif
# Objects of two kinds in one folder would be linked to one program.
SAN_WAS := $(shell cat $(O)/sanitizer 2>/dev/null)
ifneq ($(SAN_WAS),$(SAN))
ifeq ($(filter clean,$(MAKECMDGOALS)),)
ifneq ($(wildcard $(O)/sanitizer $(O)/engine),)
$(error $(O) holds a build with SAN="$(SAN_WAS)": say O=DIR, or first make clean O=$(O))
endif
$(shell mkdir -p $(O) && echo $(SAN) >$(O)/sanitizer)
endif
endif

# The stage of make check. One build for both; less optimization compiles faster and keeps stacks readable.
SAN_CHECK := address,undefined
SAN_BUILD := $(O)/san
SAN_MAKE = $(MAKE) --no-print-directory SAN=$(SAN_CHECK) O=$(SAN_BUILD) CFLAGS="-O1 -g1"
SAN_JOBS = $(if $(findstring -j,$(MAKEFLAGS)),,-j$(shell nproc))

define SAN_STAGE
	$(Q)sh mk/san.sh limits $(SAN_CHECK)
	+$(Q)$(SAN_MAKE) $(SAN_JOBS) san-programs
	+$(Q)$(SAN_MAKE) san-suites SAN_LOGS=$(1) SAN_IMAGES=$(abspath $(O))/tests/guest GUEST=$(abspath $(GUEST))
endef
check-san: check-e2e
	$(if $(SAN),,$(call SAN_STAGE,$(abspath $(O))/check))
# The stage alone.
san: all guest tests
	$(Q)rm -rf $(O)/check-san
	$(call SAN_STAGE,$(abspath $(O))/check-san)
	$(Q)sh mk/check.sh $(O)/check-san total

san-programs: $(O)/steelyard $(UNIT_TESTS) $(O)/tests/diff/diff $(O)/tests/fuzz/replay
san-suites:
	$(Q)sh mk/san.sh suites $(abspath $(O)) $(SAN_LOGS) $(SAN_IMAGES) $(GUEST)
.PHONY: check-san san san-programs san-suites
