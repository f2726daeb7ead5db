# SPDX-License-Identifier: GPL-2.0-or-later
# make macro-tree: the Debian tree of the macro suite, its driver, and an initial RAM disk of both, into $(GUEST)/macro. Some 130 MB are
# downloaded and 550 MB written, so that nothing else makes it.
MACRO := $(GUEST)/macro
MACRO_SRCS := $(wildcard eval/workloads/macro/*.c) eval/workloads/harness.c
MACRO_HDRS := $(wildcard eval/workloads/macro/*.h) $(wildcard eval/workloads/*.h) eval/workloads/macro.def
MACRO_SCRIPTS := $(wildcard eval/workloads/macro/scripts/*)

macro-tree: $(MACRO)/initrd
$(MACRO)/macro: $(MACRO_SRCS) $(MACRO_HDRS)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(GUEST_CFLAGS) $(GUEST_CFLAGS_amd64) -o $@ $(MACRO_SRCS)
# The script leaves a tree of the same packages alone. Another driver with the same packages is no reason to look again.
$(MACRO)/packages: $(MACRO)/macro
	$(Q)$< --packages >$@.part
	$(Q)cmp -s $@.part $@ && rm $@.part || mv $@.part $@
$(MACRO)/MANIFEST: mk/macro-tree.sh $(MACRO)/packages $(MACRO_SCRIPTS)
	$(Q)sh mk/macro-tree.sh $(@D) eval/workloads/macro/scripts $$(cat $(MACRO)/packages)
$(MACRO)/initrd: $(MACRO)/MANIFEST $(MACRO)/macro $(GUEST)/amd64/init $(O)/mkcpio
	$(Q)$(O)/mkcpio tree:/:$(MACRO)/tree char:/dev/console:600:5:1 char:/dev/null:666:1:3 file:/init:755:$(GUEST)/amd64/init \
		file:/usr/bin/macro:755:$(MACRO)/macro file:/usr/bin/busybox:755:$(GUEST)/amd64/busybox >$@.part
	$(Q)mv $@.part $@
.PHONY: macro-tree
.PRECIOUS: $(MACRO)/macro $(MACRO)/packages $(MACRO)/MANIFEST $(MACRO)/initrd
