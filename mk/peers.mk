# SPDX-License-Identifier: GPL-2.0-or-later
# Programs that stand for a peer in the evaluation (eval/peers). Without its library there is no such program, and the path says so.
HAVE_UNICORN := $(shell echo '#include <unicorn/unicorn.h>' | $(CC) -E -x c - >/dev/null 2>&1 && echo yes)
PEERS := $(if $(HAVE_UNICORN),$(O)/peers/unicorn)

all: $(PEERS)
$(O)/peers/unicorn: eval/peers/unicorn.c
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(BASE_CFLAGS) $(CFLAGS) $(LDFLAGS) -o $@ $< -lunicorn
-include $(PEERS:=.d)
