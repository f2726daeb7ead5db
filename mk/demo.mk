# SPDX-License-Identifier: GPL-2.0-or-later
# make demo: the main job. Probes this host, boots the unmodified Debian kernel and runs the workloads natively, on every
# path that works here and on QEMU; the table on the terminal, samples and a page in $(O)/demo.
demo:
	$(Q)$(MAKE) --no-print-directory deps
	$(Q)$(MAKE) --no-print-directory all guest
	$(Q)$(O)/steelyard probe
	$(Q)$(O)/steelyard eval run quick --rotate --out $(O)/demo
.PHONY: demo
