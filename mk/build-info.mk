# SPDX-License-Identifier: GPL-2.0-or-later
# What an evaluation records about its own program: the commit of the sources, where they are a git tree ("+" when files differ from it),
# and the compiler's flags. The header is written anew only when it says something else.
BUILD_COMMIT := $(shell git rev-parse HEAD 2>/dev/null && { git diff --quiet HEAD 2>/dev/null || echo +; })
BUILD_INFO := $(O)/build-info.h
BUILD_INFO_TEXT = \#define BUILD_COMMIT "$(subst $() ,,$(BUILD_COMMIT))"\n\#define BUILD_CFLAGS "$(CFLAGS) $(SAN_CFLAGS)"\n

$(BUILD_INFO): FORCE_BUILD_INFO
	$(Q)mkdir -p $(@D)
	$(Q)printf '$(BUILD_INFO_TEXT)' >$@.part; cmp -s $@.part $@ && rm $@.part || mv $@.part $@
FORCE_BUILD_INFO:
$(O)/eval/run/environment.o: $(BUILD_INFO)
$(O)/eval/run/environment.o: EXTRA_CFLAGS := -include $(BUILD_INFO)
.PHONY: FORCE_BUILD_INFO
