# SPDX-License-Identifier: GPL-2.0-or-later
# Small guests in assembly, each on every path: make guest-test [GUEST_PATHS="interp bt:0 bt:3"] [GUESTS="exc32 smp"]
# mk/check.mk builds the images: assembled as 64-bit objects, because absolute addresses in 64-bit code need its relocations,
# and turned into the 32-bit ELF that multiboot loaders take.
GUEST_PATHS ?= interp bt:0 bt:3
GUESTS ?=

guest-test: $(O)/steelyard $(GUEST_TESTS)
	$(Q)sh tests/guest/run.sh $(O)/steelyard $(O)/tests/guest "$(GUEST_PATHS)" $(GUESTS)

# The guests themselves, on QEMU; what fails there is listed with the reason in tests/guest/qemu.txt.
guest-test-qemu: $(GUEST_TESTS)
	$(Q)for g in $(notdir $(GUEST_TESTS)); do \
		timeout 20 qemu-system-x86_64 -accel tcg -cpu max -smp 2 -m 64 -display none -no-reboot -nodefaults -debugcon null \
			-device isa-debug-exit,iobase=0xf4,iosize=1 -kernel $(O)/tests/guest/$$g; \
		echo "$$g: status $$?"; \
	done

.PHONY: guest-test guest-test-qemu
