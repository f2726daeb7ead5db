# SPDX-License-Identifier: GPL-2.0-or-later
# make coverage: which lines the tests run (gcov, lcov), and which rows of the instruction tables (tests/rows). A build of its
# own in $(O)/coverage/build; pages in $(O)/coverage/html; docs/coverage.md tells the rest.
COVERAGE := $(O)/coverage
# Counters are shared by the vCPUs' threads. Optimization stays on: some of the translator's files need their inlining.
COVERAGE_CFLAGS := -O1 -g --coverage -fprofile-update=atomic -DCOVERAGE
COVERAGE_DIFF_N ?= 300000
COVERAGE_MIN ?= 85
# "lines": tests that fail are named, and only the lines are judged
COVERAGE_JUDGE ?=

coverage:
	$(Q)$(MAKE) --no-print-directory deps
	$(Q)$(MAKE) --no-print-directory guest
	$(Q)mkdir -p $(COVERAGE)/build
	$(Q)ln -sfn $(abspath $(GUEST)) $(COVERAGE)/build/guest
	$(Q)$(MAKE) --no-print-directory O=$(COVERAGE)/build CFLAGS="$(COVERAGE_CFLAGS)" LDFLAGS=--coverage all tests
	$(Q)bash tests/coverage.sh $(COVERAGE) $(COVERAGE_DIFF_N) $(COVERAGE_MIN) $(COVERAGE_JUDGE)
.PHONY: coverage
