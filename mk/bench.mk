# SPDX-License-Identifier: GPL-2.0-or-later
# make bench: the whole suite by groups, natively, on bt and on QEMU, in interleaved blocks; the boot and the memory beside
# guest RAM. Table on the terminal, samples and a page in $(O)/bench. Five blocks take about a quarter of an hour on two cores.
BENCH_BLOCKS ?= 5
BENCH_ARGS ?=
bench:
	$(Q)$(MAKE) --no-print-directory deps
	$(Q)$(MAKE) --no-print-directory all guest
	$(Q)$(O)/steelyard eval run bench --rotate --blocks $(BENCH_BLOCKS) --out $(O)/bench $(BENCH_ARGS)
# make bench-smp: parallel work, threads and hand-overs with one vCPU and with two, beside the same program on the host.
bench-smp:
	$(Q)$(MAKE) --no-print-directory deps
	$(Q)$(MAKE) --no-print-directory all guest
	$(Q)$(O)/steelyard eval run smp --rotate --blocks $(BENCH_BLOCKS) --out $(O)/smp $(BENCH_ARGS)
# make bench-macro: Debian's programs (docs/macro.md) natively, on bt and hybrid, and on QEMU in the first two blocks, with half the work of
# the spec macro and no pilot. Some 20 minutes for 6 blocks on two idle cores. Packed as it is kept: compressed records, summary, page.
MACRO_BLOCKS ?= 6
MACRO_RUN ?= $(O)/macro-run
bench-macro:
	$(Q)[ ! -e $(MACRO_RUN)/results.jsonl.xz ] || { echo "$(MACRO_RUN) has results already: say MACRO_RUN=DIR"; exit 1; }
	$(Q)$(MAKE) --no-print-directory deps
	$(Q)$(MAKE) --no-print-directory all guest macro-tree
	$(Q)$(O)/steelyard eval run macro --rotate --pilot-blocks 0 --blocks $(MACRO_BLOCKS) --blocks-max $(MACRO_BLOCKS) --scale 15 \
		--paths bt,hybrid,kvm,qemu-tcg,qemu-kvm --peer-blocks 2 --out $(MACRO_RUN) $(BENCH_ARGS)
	$(Q)xz -9 $(MACRO_RUN)/results.jsonl && rm -f $(MACRO_RUN)/.lock
	$(Q)$(O)/steelyard eval report $(MACRO_RUN) --quiet && $(O)/steelyard eval verify $(MACRO_RUN)
.PHONY: bench bench-smp bench-macro
# make bench-auto: CPU time of --path auto over the path that it takes, in pairs, with and without the probe's cache.
BENCH_PAIRS ?= 31
bench-auto:
	$(Q)$(MAKE) --no-print-directory deps
	$(Q)$(MAKE) --no-print-directory all guest
	$(Q)mkdir -p $(O)/bench
	$(Q)bash mk/bench-auto.sh $(O)/steelyard $(GUEST) $(BENCH_PAIRS) $(O)/bench/auto.txt
.PHONY: bench-auto
# make bench-ring3: loops of 64-bit ring 3 in KVM beside the same code on the host. Half a minute.
bench-ring3:
	$(Q)$(MAKE) --no-print-directory all
	$(Q)$(O)/steelyard probe --ring3
.PHONY: bench-ring3
