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
.PHONY: bench bench-smp
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
