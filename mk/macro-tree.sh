#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# macro-tree.sh DIR SCRIPTS PACKAGE...
#
# Makes DIR/tree: the packages and all that they depend on, unpacked and never installed, without what no workload reads (the list below),
# and the scripts in /usr/share/steelyard. DIR/MANIFEST names each package with version and SHA-256, the sum of the packages
# (the tree's key) and the sum of the tree itself. Nothing needs privileges and nothing of the host changes: apt resolves against an empty
# private status, with the system's lists, or with private ones where those cannot answer (no lists, or older than the archive).
# A tree with the same key is left as it is.
set -eu
dir=$1 scripts=$2
shift 2
packages=$(printf '%s\n' "$@" | sort -u)
arch=amd64
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
work=$dir/.fetch

# What stays out. Paths below the tree; the shell expands them.
trimmed="usr/share/doc usr/share/man usr/share/info usr/share/locale usr/share/lintian usr/share/bug usr/share/bash-completion
usr/share/zsh usr/share/doc-base usr/share/menu usr/share/pixmaps usr/share/icons usr/share/applications usr/share/gdb usr/share/fio
usr/share/polkit-1 usr/share/gcc usr/share/ipsec-mb usr/share/python3/dist usr/share/common-licenses etc/init.d etc/cron* etc/logrotate.d
var/cache var/log lib/systemd usr/lib/systemd usr/lib/tmpfiles.d usr/lib/sysusers.d
usr/lib/gcc/x86_64-linux-gnu/12/lto1 usr/lib/gcc/x86_64-linux-gnu/12/plugin usr/lib/gcc/x86_64-linux-gnu/12/lib*san*
usr/lib/gcc/x86_64-linux-gnu/12/libgcov.a usr/lib/gcc/x86_64-linux-gnu/12/libitm* usr/lib/gcc/x86_64-linux-gnu/12/libgomp*
usr/lib/gcc/x86_64-linux-gnu/12/libquadmath* usr/bin/*lto-dump* usr/bin/*ld.gold usr/bin/*dwp usr/bin/*gprofng* usr/bin/*gp-*
usr/lib/x86_64-linux-gnu/gprofng usr/lib/x86_64-linux-gnu/libgprofng* usr/lib/x86_64-linux-gnu/lib*san.so* usr/lib/x86_64-linux-gnu/gconv
usr/lib/x86_64-linux-gnu/libc.a usr/lib/x86_64-linux-gnu/libm-*.a usr/lib/x86_64-linux-gnu/libmvec.a usr/lib/x86_64-linux-gnu/libperl.so*
usr/lib/x86_64-linux-gnu/perl/*/CORE usr/share/perl usr/lib/x86_64-linux-gnu/perl/*/auto/Encode usr/lib/python3*/test
usr/lib/python3*/pydoc_data usr/lib/python3*/lib2to3 usr/lib/python3*/idlelib usr/share/i18n usr/share/icu usr/share/mysql usr/share/luajit*"

fail() {
	echo "macro tree: $*" >&2
	rm -rf "$work/root"
	exit 1
}

rm -rf "$work/root"
mkdir -p "$work/cache/archives/partial" "$work/lists/partial"
: >"$work/status"
private=
apt_options() {
	printf '%s\n' -o "Dir::State::status=$work/status" -o "Dir::Cache=$work/cache" -o APT::Install-Recommends=false \
		-o APT::Install-Suggests=false -o "APT::Architecture=$arch" -o Debug::NoLocking=1 -o APT::Sandbox::User=
	[ -z "$private" ] || printf '%s\n' -o "Dir::State::Lists=$work/lists" -o "APT::Architectures=$arch"
}
# "'URI' FILE SIZE SHA256:SUM" for each package, the depended-on ones too
resolve() { apt-get $(apt_options) -qq --print-uris install $packages >"$work/uris" 2>"$work/resolve.log" && [ -s "$work/uris" ]; }
download() { apt-get $(apt_options) -qq -y --download-only install $packages >"$work/download.log" 2>&1; }
use_private() {
	private=1
	# One index of a mirror in the middle of an update is no reason to fail: what counts is whether the packages are found.
	apt-get $(apt_options) update -q >"$work/update.log" 2>&1 || true
}

[ "$arch" = "$(dpkg --print-architecture)" ] || private=1
if [ -n "$private" ] || ! resolve; then
	use_private
	resolve || fail "apt cannot resolve the packages: $(head -n 3 "$work/resolve.log" | tr '\n' ' ')"
fi
key=$({ sort -k2 "$work/uris" | cut -d' ' -f2-; cat "$0" "$scripts"/*; } | sha256sum | cut -d' ' -f1)
if [ -d "$dir/tree" ] && grep -qs "^# key $key\$" "$dir/MANIFEST"; then
	touch "$dir/MANIFEST"
	rm -rf "$work"
	exit 0
fi
echo "macro tree: $(wc -l <"$work/uris") packages, $(awk '{ s += $3 } END { printf "%d", s / 1e6 }' "$work/uris") MB"
if ! download; then
	use_private
	resolve && download || fail "cannot download the packages; see $work/update.log and $work/download.log"
fi

root=$work/root
mkdir -p "$root/usr/bin" "$root/usr/sbin" "$root/usr/lib" "$root/usr/lib64"
for d in bin sbin lib lib64; do ln -s usr/$d "$root/$d"; done
cut -d' ' -f2 "$work/uris" | sort >"$work/files"
while read -r file; do
	deb=$work/cache/archives/$file
	[ -s "$deb" ] || fail "apt left no $file"
	dpkg-deb --fsys-tarfile "$deb" | tar -x --keep-directory-symlink --no-same-owner --no-same-permissions -C "$root" || fail "cannot unpack $file"
done <"$work/files"
(cd "$root" && rm -rf $trimmed)
mkdir -p "$root/proc" "$root/sys" "$root/dev" "$root/tmp" "$root/root" "$root/run" "$root/etc" "$root/usr/share/steelyard"
# What maintainer scripts would have written.
printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n' >"$root/etc/passwd"
printf 'root:x:0:\nnogroup:x:65534:\n' >"$root/etc/group"
printf '127.0.0.1 localhost\n' >"$root/etc/hosts"
[ -e "$root/usr/bin/sh" ] || ln -s dash "$root/usr/bin/sh"
cp "$scripts"/* "$root/usr/share/steelyard/"
find "$root" -xtype l -delete # links into what stays out
find "$root" -depth -type d -empty ! -path "$root/proc" ! -path "$root/sys" ! -path "$root/dev" ! -path "$root/tmp" ! -path "$root/root" \
	! -path "$root/run" -delete
chmod -R u+rwX,go+rX,go-w "$root"

{
	echo "# key $key"
	echo "# tree $(cd "$root" && find . -printf '%P %y %m %l\n' | sort | sha256sum | cut -d' ' -f1) $(cd "$root" && find . -type f | LC_ALL=C sort | xargs sha256sum | sha256sum | cut -d' ' -f1)"
	echo "# package version sha256"
	while read -r file; do
		printf '%s %s %s\n' "$(dpkg-deb -f "$work/cache/archives/$file" Package)" "$(dpkg-deb -f "$work/cache/archives/$file" Version)" \
			"$(sha256sum <"$work/cache/archives/$file" | cut -d' ' -f1)"
	done <"$work/files"
} >"$dir/MANIFEST.part"
rm -rf "$dir/tree"
mv "$root" "$dir/tree"
mv "$dir/MANIFEST.part" "$dir/MANIFEST"
rm -rf "$work"
echo "macro tree: $(du -sm "$dir/tree" | cut -f1) MB"
