# SPDX-License-Identifier: GPL-2.0-or-later
# make deps: installs the Debian packages that mk/packages.txt names, when some are missing.
deps:
	$(Q)sh mk/deps.sh
.PHONY: deps
