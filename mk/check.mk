# SPDX-License-Identifier: GPL-2.0-or-later
# make check: every test. Each suite prints "N passed, M failed"; logs are in $(O)/check. The last line is the total, the
# exit status says whether anything failed. The number behind "run LABEL" is when a suite is stuck, not how long it may take.
UNIT_TESTS := $(patsubst %.c,$(O)/%,$(wildcard tests/unit/test_*.c))
UNIT_HELP := $(patsubst %.c,$(O)/%.o,$(filter-out tests/unit/test_%.c,$(wildcard tests/unit/*.c)))
DIFF_OBJS := $(patsubst %.c,$(O)/%.o,$(wildcard tests/diff/*.c)) $(patsubst %.S,$(O)/%.o,$(wildcard tests/diff/*.S))
GUEST_TESTS := $(patsubst %.S,$(O)/%.elf,$(wildcard tests/guest/*.S))
# nested.sh: mk/nested.mk
E2E_TESTS := $(filter-out tests/e2e/lib.sh tests/e2e/nested.sh,$(wildcard tests/e2e/*.sh))
# fake*.c are libraries that a test builds itself and puts in front of the program.
E2E_TOOLS := $(patsubst %.c,$(O)/%,$(filter-out tests/e2e/fake%.c,$(wildcard tests/e2e/*.c)))
CHECK := sh mk/check.sh $(O)/check
# The table of paths belongs to the program, not to the library.
TEST_LINK := $(O)/engine/main/paths.o $(O)/libsteelyard.a

check:
	$(Q)$(MAKE) --no-print-directory deps
	$(Q)$(MAKE) --no-print-directory all guest tests
	-$(Q)$(MAKE) --no-print-directory images
	$(Q)rm -rf $(O)/check
	$(Q)$(MAKE) --no-print-directory check-unit check-diff check-fuzz check-guest check-rows check-e2e check-san
	$(Q)$(CHECK) total
tests: $(UNIT_TESTS) $(if $(DIFF_OBJS),$(O)/tests/diff/diff) $(O)/tests/rows/rows $(O)/tests/fuzz/replay $(GUEST_TESTS) $(E2E_TOOLS)

$(UNIT_TESTS): $(O)/%: $(O)/%.o $(UNIT_HELP) $(TEST_LINK)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)
$(O)/tests/diff/diff: $(DIFF_OBJS) $(TEST_LINK)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ -lunicorn $(LDLIBS)
$(GUEST_TESTS): $(O)/%.elf: %.S tests/guest/guest.ld $(wildcard tests/guest/*.inc)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -m64 -c -nostdinc -Itests/guest -x assembler-with-cpp -o $(@:.elf=.go) $<
	$(Q)$(LD) -m elf_x86_64 -n -z noexecstack -z max-page-size=4096 --no-warn-rwx-segments -T tests/guest/guest.ld -o $(@:.elf=.elf64) $(@:.elf=.go) \
		$(filter %.cgo,$^)
	$(Q)objcopy -O elf32-i386 $(@:.elf=.elf64) $@
# The guest whose program is in C.
GUEST_TEST_C := $(patsubst %.c,$(O)/%.cgo,$(wildcard tests/guest/*.c))
$(GUEST_TEST_C): $(O)/%.cgo: %.c $(wildcard tests/guest/*.h)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -std=gnu17 -m64 -O2 -Wall -Wextra -Wshadow -ffreestanding -fno-pic -mgeneral-regs-only -mno-red-zone -fno-stack-protector \
		-fcf-protection=none -fno-asynchronous-unwind-tables $(GUEST_TEST_CFLAGS) -c -o $@ $<
$(O)/tests/guest/stress.elf: $(O)/tests/guest/stress.cgo $(O)/tests/guest/stress_tlb.cgo
$(E2E_TOOLS): $(O)/tests/e2e/%: tests/e2e/%.c
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -std=gnu17 -D_GNU_SOURCE -O2 -Wall -Wextra -o $@ $<

# One suite after the other, whatever -j says: nothing may run beside a test that watches a clock.
check-unit:
	$(Q)$(foreach t,$(UNIT_TESTS),$(CHECK) run unit/$(notdir $(t)) 300 $(t);)
check-diff: check-unit
	$(Q)$(if $(DIFF_OBJS),$(CHECK) run diff 900 $(O)/tests/diff/diff)
check-fuzz: check-diff
	$(Q)$(CHECK) run fuzz 600 $(O)/tests/fuzz/replay
check-guest: check-fuzz
	$(Q)$(if $(GUEST_TESTS),$(CHECK) run guest 900 sh tests/guest/run.sh $(O)/steelyard $(O)/tests/guest "interp bt:0 bt:3 kvm")
check-rows: check-guest
	$(Q)$(CHECK) run rows 300 sh tests/rows/check.sh $(O)/steelyard $(O)/tests/guest $(O)/tests/rows
	$(Q)sed -n 's/^isa_/     &/p' $(O)/check/rows.log
check-e2e: check-rows
	$(Q)$(foreach t,$(E2E_TESTS),STEELYARD=$(abspath $(O))/steelyard GUEST=$(abspath $(GUEST)) TOOLS=$(abspath $(O))/tests/e2e \
		$(CHECK) run e2e/$(basename $(notdir $(t))) 1200 bash $(t);)
.PHONY: check tests check-unit check-diff check-fuzz check-guest check-rows check-e2e
-include $(UNIT_TESTS:=.d) $(UNIT_HELP:.o=.d) $(DIFF_OBJS:.o=.d)
