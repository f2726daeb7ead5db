# SPDX-License-Identifier: GPL-2.0-or-later
# make rows: no row of the instruction tables without a test; make check does the same. The guests that tests/guest/rows.tbl
# names run on the interpreter, which counts what it executes.
ROWS_OBJS := $(patsubst %.c,$(O)/%.o,$(wildcard tests/rows/*.c))
ROWS_HELP := $(patsubst %,$(O)/tests/diff/%.o,forms gen gen_value segs state)

$(O)/tests/rows/rows: $(ROWS_OBJS) $(ROWS_HELP) $(TEST_LINK)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)
rows: $(O)/steelyard $(O)/tests/rows/rows $(GUEST_TESTS)
	$(Q)sh tests/rows/check.sh $(O)/steelyard $(O)/tests/guest $(O)/tests/rows
.PHONY: rows
-include $(ROWS_OBJS:.o=.d)
