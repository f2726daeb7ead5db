# SPDX-License-Identifier: GPL-2.0-or-later
# make, make check, make demo: see README.md. V=1 shows commands; O=DIR builds elsewhere; SAN=address|undefined|thread,
# or address,undefined, builds with sanitizers in a folder of its own (mk/san.mk).
SAN ?=
O ?= build$(if $(SAN),/san-$(SAN))
CC ?= gcc
V ?= 0
Q := $(if $(filter 1,$(V)),,@)

CFLAGS ?= -O2 -g
SAN_CFLAGS := $(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=undefined --param=asan-use-after-return=0)
BASE_CFLAGS := -std=gnu17 -D_GNU_SOURCE -I. -Wall -Wextra -Wshadow -Wmissing-prototypes -Wstrict-prototypes \
	-fno-strict-aliasing -fno-omit-frame-pointer -pthread -MMD -MP $(SAN_CFLAGS)
# Code that may run while the guest's vector state is in the host's registers: no vector instructions of its own.
GENERAL_REGS := -mgeneral-regs-only -fno-tree-loop-distribute-patterns
LDLIBS := -lZydis -lcapstone -luring -lslirp -ljansson -lz -llzma -lzstd -llz4 -lm -pthread
LDFLAGS := $(if $(SAN),-fsanitize=$(SAN))

PROGRAM_DIRS := engine $(addprefix engine/,ahci apic block control load net nvme pc pci virtio) translator fastpath mgmt eval eval/report eval/run
LIB_SRCS := $(wildcard $(addsuffix /*.c,$(PROGRAM_DIRS)))
MAIN_SRCS := $(wildcard engine/main/*.c)
ASM_SRCS := $(wildcard $(addsuffix /*.S,engine translator fastpath mgmt))
LIB_OBJS := $(LIB_SRCS:%.c=$(O)/%.o) $(ASM_SRCS:%.S=$(O)/%.o)
MAIN_OBJS := $(MAIN_SRCS:%.c=$(O)/%.o)

all: $(O)/steelyard

$(O)/steelyard: $(MAIN_OBJS) $(O)/libsteelyard.a
	$(Q)$(CC) $(LDFLAGS) -o $@ $(MAIN_OBJS) $(O)/libsteelyard.a $(LDLIBS)

$(O)/libsteelyard.a: $(LIB_OBJS)
	$(Q)rm -f $@ && $(AR) rcs $@ $^

$(O)/engine/%.o $(O)/translator/%.o: EXTRA_CFLAGS := $(GENERAL_REGS)
$(O)/engine/main/%.o: EXTRA_CFLAGS :=
$(O)/%.o: %.c
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(BASE_CFLAGS) $(CFLAGS) $(EXTRA_CFLAGS) -c -o $@ $<
$(O)/%.o: %.S
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(BASE_CFLAGS) $(CFLAGS) -c -o $@ $<

-include $(wildcard mk/*.mk)

clean:
	$(Q)rm -rf $(O)

.PHONY: all clean
-include $(LIB_OBJS:.o=.d) $(MAIN_OBJS:.o=.d)
