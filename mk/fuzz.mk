# SPDX-License-Identifier: GPL-2.0-or-later
# make fuzz [T=60] [FUZZ_TARGETS="decode load device translate control virtio nvme ahci pflash disk"]: libFuzzer on each target for its share of T seconds, on
# one core, with the seeds of tests/fuzz/corpus/TARGET. What it finds is in $(O)/fuzz/TARGET: new inputs in corpus/, crashes beside it. A
# crash belongs, reduced, into tests/golden/fuzz/TARGET: make check replays those files and the seeds without a fuzzer.
#
# All of engine/ and translator/ is compiled with clang: once with address and undefined-behaviour sanitizers for what reads
# files and bytes, once without for the translator, whose generated code a sanitizer does not see and whose C code must
# use no vector registers and no stack but its own; there, coverage is counters in memory only.
T ?= 60
FUZZ_CLANG ?= clang
FUZZ_TARGETS ?= decode load device translate control virtio nvme ahci pflash disk
FUZZ_SECONDS = $(shell n=$$(( $(T) / $(words $(FUZZ_TARGETS)) )); [ $$n -gt 0 ] || n=1; echo $$n)
FUZZ_CFLAGS := -std=gnu17 -D_GNU_SOURCE -I. -Wall -Wextra -fno-strict-aliasing -fno-omit-frame-pointer -pthread -MMD -MP -O1 -g
# clang's word for "no calls of memset and memcpy out of loops"
FUZZ_GENERAL_REGS := -mgeneral-regs-only -fno-builtin
FUZZ_SAN_asan := -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize=alignment -fno-sanitize-recover=undefined
FUZZ_SAN_cov := -fsanitize-coverage=inline-8bit-counters,pc-table
FUZZ_LINK_asan := -fsanitize=fuzzer,address,undefined
FUZZ_LINK_cov := -fsanitize=fuzzer
FUZZ_KIND_decode := asan
FUZZ_KIND_load := asan
FUZZ_KIND_device := asan
FUZZ_KIND_translate := cov
FUZZ_KIND_control := asan
FUZZ_KIND_virtio := asan
FUZZ_KIND_nvme := asan
FUZZ_KIND_ahci := asan
FUZZ_KIND_pflash := asan
FUZZ_KIND_disk := asan
# A crash is found in a quiet process: its signals are the translator's own; see fuzz_translate.c for the input that it leaves.
FUZZ_ARGS_decode := -max_len=64
FUZZ_ARGS_load := -max_len=16384
FUZZ_ARGS_control := -max_len=1024 -dict=tests/fuzz/control.dict
FUZZ_ARGS_device := -max_len=1024
FUZZ_ARGS_virtio := -max_len=2048
FUZZ_ARGS_nvme := -max_len=2048
FUZZ_ARGS_ahci := -max_len=2048
FUZZ_ARGS_pflash := -max_len=1024
FUZZ_ARGS_disk := -max_len=70000
FUZZ_ARGS_translate := -max_len=130 -handle_segv=0 -handle_bus=0 -handle_fpe=0 -handle_ill=0 -handle_usr1=0 -handle_usr2=0
FUZZ_OUR_SRCS := $(filter engine/% translator/% fastpath/%,$(LIB_SRCS)) engine/main/paths.c
FUZZ_ASM_SRCS := $(filter engine/% translator/% fastpath/%,$(ASM_SRCS))

define fuzz_kind
FUZZ_OBJS_$(1) := $$(FUZZ_OUR_SRCS:%.c=$$(O)/fuzz/$(1)/%.o) $$(FUZZ_ASM_SRCS:%.S=$$(O)/fuzz/$(1)/%.o)
$$(O)/fuzz/$(1)/engine/%.o $$(O)/fuzz/$(1)/translator/%.o: FUZZ_EXTRA := $$(FUZZ_GENERAL_REGS)
$$(O)/fuzz/$(1)/engine/main/%.o: FUZZ_EXTRA :=
$$(O)/fuzz/$(1)/%.o: %.c
	$$(Q)mkdir -p $$(@D)
	$$(Q)$$(FUZZ_CLANG) $$(FUZZ_CFLAGS) $$(FUZZ_SAN_$(1)) $$(FUZZ_EXTRA) -c -o $$@ $$<
$$(O)/fuzz/$(1)/%.o: %.S
	$$(Q)mkdir -p $$(@D)
	$$(Q)$$(FUZZ_CLANG) -I. -c -o $$@ $$<
-include $$(FUZZ_OBJS_$(1):.o=.d)
endef
$(foreach k,asan cov,$(eval $(call fuzz_kind,$(k))))

define fuzz_target
$$(O)/fuzz/fuzz_$(1): $$(O)/fuzz/$$(FUZZ_KIND_$(1))/tests/fuzz/fuzz_$(1).o $$(FUZZ_OBJS_$$(FUZZ_KIND_$(1)))
	$$(Q)$$(FUZZ_CLANG) $$(FUZZ_LINK_$$(FUZZ_KIND_$(1))) -o $$@ $$^ $$(LDLIBS)
fuzz-run-$(1): $$(O)/fuzz/fuzz_$(1)
	$$(Q)mkdir -p $$(O)/fuzz/$(1)/corpus
	@echo "fuzz $(1): $$(FUZZ_SECONDS) s"
	$$(Q)FUZZ_LAST_INPUT=$$(O)/fuzz/$(1)/last-input $$(O)/fuzz/fuzz_$(1) -max_total_time=$$(FUZZ_SECONDS) -timeout=30 \
		-rss_limit_mb=3000 -print_final_stats=1 -verbosity=0 $$(FUZZ_ARGS_$(1)) -artifact_prefix=$$(O)/fuzz/$(1)/ \
		$$(O)/fuzz/$(1)/corpus tests/fuzz/corpus/$(1) || \
		{ s=$$$$?; [ ! -f $$(O)/fuzz/$(1)/last-input ] || cp $$(O)/fuzz/$(1)/last-input $$(O)/fuzz/$(1)/crash-last; \
		  echo "fuzz $(1): a crash; the input is in $$(O)/fuzz/$(1)"; exit $$$$s; }
-include $$(O)/fuzz/$$(FUZZ_KIND_$(1))/tests/fuzz/fuzz_$(1).d
.PHONY: fuzz-run-$(1)
endef
$(foreach t,decode load device translate control virtio nvme ahci pflash disk,$(eval $(call fuzz_target,$(t))))

# One after the other.
fuzz:
	$(Q)$(MAKE) --no-print-directory deps
	$(Q)s=0; for t in $(FUZZ_TARGETS); do $(MAKE) --no-print-directory fuzz-run-$$t || s=1; done; exit $$s

# The kept files through the same targets, compiled as everything else is.
FUZZ_REPLAY_OBJS := $(patsubst %.c,$(O)/%.o,$(wildcard tests/fuzz/*.c))
$(O)/tests/fuzz/fuzz_%.o: EXTRA_CFLAGS = -DLLVMFuzzerTestOneInput=$(notdir $*)_one
$(O)/tests/fuzz/replay: $(FUZZ_REPLAY_OBJS) $(O)/engine/main/paths.o $(O)/libsteelyard.a
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)
fuzz-replay: $(O)/tests/fuzz/replay
	$(Q)$(O)/tests/fuzz/replay
.PHONY: fuzz fuzz-replay
-include $(FUZZ_REPLAY_OBJS:.o=.d)
