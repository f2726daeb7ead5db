# SPDX-License-Identifier: GPL-2.0-or-later
# The differential test: make diff [N=100000] [SEED=1] [DIFF_ARGS="--paths bt --form add"]
N ?= 100000
SEED ?= 1
DIFF_ARGS ?=
DIFF_SRCS := $(wildcard tests/diff/*.c)
DIFF_OBJS := $(DIFF_SRCS:%.c=$(O)/%.o)

$(O)/tests/diff/forms.o: tests/diff/forms.def tests/diff/forms_vec.def
$(O)/tests/diff/diff: $(DIFF_OBJS) $(O)/libsteelyard.a
	$(Q)$(CC) $(LDFLAGS) -o $@ $(DIFF_OBJS) $(O)/libsteelyard.a $(LDLIBS) -lunicorn

diff: $(O)/tests/diff/diff
	$(Q)$(O)/tests/diff/diff --n $(N) --seed $(SEED) --golden tests/golden $(DIFF_ARGS)

.PHONY: diff
-include $(DIFF_OBJS:.o=.d)
