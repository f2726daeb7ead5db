# SPDX-License-Identifier: GPL-2.0-or-later
# The differential test by hand: make diff [N=1000000] [SEED=1|random] [DIFF_ARGS="--paths bt --mode 16 --form add"]
# mk/check.mk builds the program.
N ?= 1000000
SEED ?= 1
DIFF_ARGS ?=

diff: $(O)/tests/diff/diff
	$(Q)$(O)/tests/diff/diff --n $(N) --seed $(SEED) $(DIFF_ARGS)

.PHONY: diff
