# SPDX-License-Identifier: GPL-2.0-or-later
# The machine micro-suite (eval/workloads/machine): an image that is all the software of a machine, and its twin on the host. The
# image is compiled as 64-bit code and turned into the 32-bit ELF that multiboot loaders take.
MACHINE_DIR := eval/workloads/machine
MACHINE_IMAGE_OBJS := $(patsubst %,$(O)/machine/image/%.o,boot loops measure user ring0 image)
MACHINE_NATIVE_OBJS := $(patsubst %,$(O)/machine/native/%.o,loops measure user native)
MACHINE_FILES := $(O)/machine/machine.elf $(O)/machine/machine-native
MACHINE_CFLAGS := -std=gnu17 -I. -m64 -O2 -Wall -Wextra -Wshadow -Wmissing-prototypes -fno-pic -fno-stack-protector -fcf-protection=none \
	-fno-asynchronous-unwind-tables -fno-strict-aliasing -MMD -MP

all: $(MACHINE_FILES)
$(O)/machine/image/%.o: MACHINE_EXTRA := -ffreestanding -nostdinc -isystem $(shell $(CC) -print-file-name=include) -mgeneral-regs-only -mno-red-zone
$(O)/machine/native/%.o: MACHINE_EXTRA := -D_GNU_SOURCE
# A rule for each: a pattern with two targets would make both at once.
define machine_rules
$$(O)/machine/$(1)/%.o: $$(MACHINE_DIR)/%.c $$(MACHINE_DIR)/machine.def
	$$(Q)mkdir -p $$(@D)
	$$(Q)$$(CC) $$(MACHINE_CFLAGS) $$(MACHINE_EXTRA) -c -o $$@ $$<
$$(O)/machine/$(1)/%.o: $$(MACHINE_DIR)/%.S
	$$(Q)mkdir -p $$(@D)
	$$(Q)$$(CC) $$(MACHINE_CFLAGS) -c -o $$@ $$<
endef
$(foreach k,image native,$(eval $(call machine_rules,$(k))))
$(O)/machine/machine.elf: $(MACHINE_IMAGE_OBJS) $(MACHINE_DIR)/image.ld
	$(Q)$(LD) -m elf_x86_64 -n -z noexecstack -z max-page-size=4096 --no-warn-rwx-segments -T $(MACHINE_DIR)/image.ld -o $@64 $(MACHINE_IMAGE_OBJS)
	$(Q)objcopy -O elf32-i386 $@64 $@
$(O)/machine/machine-native: $(MACHINE_NATIVE_OBJS)
	$(Q)$(CC) -static -o $@ $(MACHINE_NATIVE_OBJS)
-include $(MACHINE_IMAGE_OBJS:.o=.d) $(MACHINE_NATIVE_OBJS:.o=.d)
