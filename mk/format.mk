# SPDX-License-Identifier: GPL-2.0-or-later
# make format-check [FILES="..."]: names the C files that clang-format would write otherwise, and how many lines; make
# format FILES="..." rewrites those.
FILES ?=

format-check:
	$(Q)n=0; for f in $(if $(FILES),$(FILES),$$(git ls-files '*.c' '*.h')); do \
		d=$$(clang-format --style=file "$$f" | diff "$$f" - | grep -c '^[<>]'); \
		[ "$$d" -eq 0 ] || { echo "$$f: $$d lines"; n=$$((n + 1)); }; \
	done; echo "$$n files differ from .clang-format"; [ "$$n" -eq 0 ]
format:
	$(if $(FILES),,$(error say which: make format FILES="engine/bus.c ..."))
	$(Q)clang-format --style=file -i $(FILES)
.PHONY: format-check format
