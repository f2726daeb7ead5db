# SPDX-License-Identifier: GPL-2.0-or-later
# make guest: what the guests run, into $(O)/guest/{amd64,i386}: vmlinuz and busybox from Debian packages, our own init and
# workloads, an initramfs of them; $(O)/guest/MANIFEST says which versions and hashes they have.
GUEST ?= $(if $(filter build/san-%,$(O)),build,$(O))/guest
GUEST_ARCHS := amd64 i386
GUEST_KERNEL_amd64 := linux-image-cloud-amd64
GUEST_KERNEL_i386 := linux-image-686
# Drivers that the kernel has as modules and our initramfs brings along; init loads them in this order. button: the ACPI power
# button, for "steelyard vm stop".
GUEST_MODULES := button
WORKLOAD_SRCS := $(filter-out eval/workloads/init.c,$(wildcard eval/workloads/*.c))
GUEST_CFLAGS := -std=gnu17 -D_GNU_SOURCE -O2 -Wall -Wextra -Wshadow -static -s -fno-tree-loop-distribute-patterns -ffp-contract=off
GUEST_CFLAGS_amd64 := -march=x86-64
GUEST_CFLAGS_i386 := -m32 -march=i686 -msse2 -mfpmath=sse

# Without a 32-bit C library there is no i386 guest: everything that wants one says so.
HAVE_M32 := $(and $(filter /%,$(shell $(CC) -m32 -print-file-name=libc.a 2>/dev/null)),$(filter /%,$(shell $(CC) -m32 -print-file-name=libgcc.a 2>/dev/null)))
GUEST_BUILDS := $(if $(HAVE_M32),$(GUEST_ARCHS),amd64)

guest: $(GUEST_BUILDS:%=$(GUEST)/%/initrd) $(GUEST_BUILDS:%=$(GUEST)/%/devices.cpio) $(GUEST)/MANIFEST $(GUEST)/macro/macro
	$(if $(HAVE_M32),,@echo "guest files: no i386 guest: this compiler cannot link with -m32 (gcc-multilib)")

# One download for both; a change of the script or of this file fetches again.
$(GUEST)/%/MANIFEST: mk/guest-files.sh mk/guest.mk
	@echo "guest files: Debian $* kernel and busybox"
	$(Q)sh mk/guest-files.sh $* $(GUEST_KERNEL_$*) $(@D) $(GUEST_MODULES)
$(GUEST)/%/workloads: $(WORKLOAD_SRCS) $(wildcard eval/workloads/*.h) eval/workloads/table.def
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(GUEST_CFLAGS) $(GUEST_CFLAGS_$*) -o $@ $(WORKLOAD_SRCS)
$(GUEST)/%/init: eval/workloads/init.c eval/workloads/port.h eval/workloads/macro.def
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(GUEST_CFLAGS) $(GUEST_CFLAGS_$*) -o $@ $<
$(O)/mkcpio: mk/mkcpio.c
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -std=gnu17 -D_GNU_SOURCE -O2 -Wall -Wextra -o $@ $<
$(GUEST)/%/initrd: $(GUEST)/%/MANIFEST $(GUEST)/%/init $(GUEST)/%/workloads $(O)/mkcpio
	$(Q)printf '%s.ko\n' $(GUEST_MODULES) >$(@D)/modules.load
	$(Q)$(O)/mkcpio dir:/bin:755 dir:/dev:755 char:/dev/console:600:5:1 char:/dev/null:666:1:3 dir:/proc:755 dir:/sys:755 \
		dir:/tmp:1777 dir:/root:700 dir:/etc:755 file:/init:755:$(@D)/init file:/bin/busybox:755:$(@D)/busybox \
		file:/bin/workloads:755:$(@D)/workloads link:/bin/sh:busybox \
		dir:/lib:755 dir:/lib/modules:755 file:/lib/modules/load:644:$(@D)/modules.load \
		$(foreach m,$(GUEST_MODULES),file:/lib/modules/$m.ko:644:$(@D)/$m.ko) >$@.part
	$(Q)mv $@.part $@
# The drivers of our devices and a script that loads them: tests append it to the initial RAM disk.
$(GUEST)/%/devices.cpio: $(GUEST)/%/MANIFEST tests/e2e/devices.guest $(O)/mkcpio
	$(Q)$(O)/mkcpio dir:/lib:755 dir:/lib/modules:755 dir:/mnt:755 file:/lib/modules/order:644:$(@D)/modules/order \
		file:/bin/devices:755:tests/e2e/devices.guest \
		$(foreach m,$(shell cat $(GUEST)/$*/modules/order 2>/dev/null),file:/lib/modules/$(m).ko:644:$(@D)/modules/$(m).ko) >$@.part
	$(Q)mv $@.part $@
$(GUEST)/MANIFEST: $(GUEST_BUILDS:%=$(GUEST)/%/initrd)
	$(Q)for a in $(GUEST_BUILDS); do sed "/^#/!s|^|$$a/|" $(GUEST)/$$a/MANIFEST; \
		(cd $(GUEST) && sha256sum $$a/init $$a/workloads $$a/initrd | awk '{print $$2, $$1, "built-here"}'); done >$@.part
	$(Q)mv $@.part $@
.PHONY: guest
.PRECIOUS: $(GUEST)/%/MANIFEST $(GUEST)/%/workloads $(GUEST)/%/init $(GUEST)/%/initrd $(GUEST)/%/devices.cpio
# make disk-kills: kill -9 of machines and storage daemons under load, 200 times each; make check does a few.
disk-kills: all guest
	$(Q)KILLS=200 STEELYARD=$(abspath $(O))/steelyard GUEST=$(abspath $(GUEST)) TOOLS=$(abspath $(O))/tests/e2e bash tests/e2e/diskkills.sh
.PHONY: disk-kills
