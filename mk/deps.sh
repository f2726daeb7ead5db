#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Installs what mk/packages.txt, or the list given, names and this system lacks. Asks the network for nothing when all is there.
set -eu
list=${1:-$(dirname "$0")/packages.txt}
wanted=$(sed 's/#.*//' "$list")

missing_packages() {
	# shellcheck disable=SC2086
	have=$(dpkg-query -W -f='${db:Status-Status} ${Package}\n' $wanted 2>/dev/null || true)
	for p in $wanted; do
		printf '%s\n' "$have" | grep -qx "installed $p" || printf '%s ' "$p"
	done
}

if ! command -v dpkg-query >/dev/null; then
	echo "make deps: this is not a Debian system; install what $list names in your system's way" >&2
	exit 1
fi
missing=$(missing_packages)
[ -n "$missing" ] || exit 0
if [ "$(id -u)" -ne 0 ]; then
	echo "make deps: packages are missing; run: sudo apt-get install --no-install-recommends -y $missing" >&2
	exit 1
fi
echo "make deps: installing $missing"
export DEBIAN_FRONTEND=noninteractive
install_missing() {
	# shellcheck disable=SC2086
	apt-get install -q -y --no-install-recommends $missing
}
for p in $missing; do
	if ! apt-cache show --no-all-versions "$p" >/dev/null 2>&1; then
		apt-get update -q
		break
	fi
done
# Lists that are older than the archive name files that are gone: refresh them once and try again.
install_missing || { apt-get update -q && install_missing; }
missing=$(missing_packages)
[ -z "$missing" ] || { echo "make deps: still missing: $missing" >&2; exit 1; }
