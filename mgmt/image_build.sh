#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# image_build.sh OUT SUITE ARCH SIZE PACKAGES MIRROR LOGIN CACHE FRESH
#
# What "steelyard image build" runs (mgmt/image_cmd.c has it inside the program and checks the arguments). Makes a root file system of Debian
# that boots: OUT, a file that holds an ext4 file system; OUT.vmlinuz and OUT.initrd, its kernel and initial RAM disk; OUT.manifest, the key of
# what went in and every package with its version.
#
# mmdebstrap installs the packages in namespaces of its own (or under fakechroot, where the host has no user namespaces), so neither
# privileges nor the host's system come into it. mke2fs fills the file system from a folder: nothing is mounted.
# An image is made once: the cache keeps it by its key, a hash of the arguments and of this script, and OUT is a copy of what is there.
# The versions of the packages are not in the key: FRESH makes the image anew, with what the mirror has today.
set -u
out=$1 suite=$2 arch=$3 size=$4 packages=$5 mirror=$6 login=$7 cache=$8 fresh=$9
umask 022
work=

quit() {
	echo "steelyard: image: $*" >&2
	exit 1
}
# The unpacked tree belongs to us, but folders of Debian may be without our right to write.
clean() { [ -z "$work" ] || { chmod -R u+rwX "$work" 2>/dev/null; rm -rf "$work"; }; }
trap clean EXIT
trap 'exit 130' INT TERM HUP

PATH=$PATH:/usr/sbin:/sbin

kernel=
case $arch in
amd64) kernel=linux-image-cloud-amd64 ;;
i386) kernel=linux-image-686 ;;
esac
case ",$packages" in *,linux-image-*) kernel= ;; esac # one of the caller's choice
base=systemd-sysv,dbus,udev,kmod,iproute2,systemd-resolved,e2fsprogs,procps,netbase,initramfs-tools,zstd
include=$base${kernel:+,$kernel}${packages:+,$packages}

key=$({ printf '%s\n' "$suite" "$arch" "$size" "$include" "$mirror" "$login"; cat; } <"$STEELYARD_IMAGE_SCRIPT" | sha256sum | cut -c1-16) ||
	quit "cannot compute the key"
kept=$cache/$key

# deliver: copies of what the cache holds, each in its place at once
deliver() {
	for part in "" .vmlinuz .initrd .manifest; do
		cp --sparse=always --reflink=auto "$kept/image$part" "$out$part.part" 2>"$out$part.err" && mv "$out$part.part" "$out$part" || {
			why=$(head -n 1 "$out$part.err" 2>/dev/null)
			rm -f "$out$part.part" "$out$part.err"
			quit "cannot write $out$part: ${why:-no place for it}"
		}
		rm -f "$out$part.err"
	done
	echo "$out: Debian $suite $arch, $(wc -l <"$out.manifest") packages and keys, from $kept"
	echo "steelyard run --kernel $out.vmlinuz --initrd $out.initrd --append \"root=LABEL=steelyard console=ttyS0\" --disk file=$out --net user"
}
[ -d "$(dirname "$out")" ] || quit "there is no folder $(dirname "$out")"
[ -n "$fresh" ] || [ ! -s "$kept/image.manifest" ] || { deliver; exit 0; }

for tool in mmdebstrap:mmdebstrap mke2fs:e2fsprogs fakeroot:fakeroot apt-get:apt; do
	command -v "${tool%:*}" >/dev/null || quit "this host has no ${tool%:*}: install Debian's package ${tool#*:}"
done
mkdir -p "$cache" 2>/dev/null || quit "cannot make the folder $cache"
work=$(mktemp -d "$cache/making.XXXXXX" 2>/dev/null) || quit "cannot make a folder in $cache"

# The mirror: where the host's apt gets Debian from, and its security updates.
repo() { apt-get indextargets --format '$(REPO_URI)|$(LABEL)' 'Created-By: Packages' 2>/dev/null | sed -n "s/|$1\$//p" | head -n 1; }
if [ -n "$mirror" ]; then
	printf 'deb %s %s main\n' "$mirror" "$suite" >"$work/sources"
else
	uri=$(repo Debian)
	[ -n "$uri" ] || quit "this host's apt knows no mirror of Debian: run apt-get update, or give one with --mirror URL"
	printf 'deb %s %s main\n' "$uri" "$suite" >"$work/sources"
	security=$(repo Debian-Security)
	case $suite in
	sid | unstable | testing) ;;
	*)
		printf 'deb %s %s-updates main\n' "$uri" "$suite" >>"$work/sources"
		[ -z "$security" ] || printf 'deb %s %s-security main\n' "$security" "$suite" >>"$work/sources"
		;;
	esac
fi

# What a machine is told beyond its packages. It runs in the new system, as its root.
cat >"$work/settings" <<'SETTINGS'
set -e
printf 'steelyard\n' >/etc/hostname
printf '127.0.0.1 localhost\n127.0.1.1 steelyard\n::1 localhost\n' >/etc/hosts
printf 'LABEL=steelyard / ext4 errors=remount-ro 0 1\n' >/etc/fstab
mkdir -p /etc/systemd/network /etc/systemd/system/serial-getty@.service.d
printf '[Match]\nType=ether\n\n[Network]\nDHCP=yes\n' >/etc/systemd/network/80-dhcp.network
# A machine may be slow, or its host busy: that is no reason to give up.
mkdir -p /etc/systemd/system.conf.d
printf '[Manager]\nDefaultTimeoutStartSec=15min\nDefaultDeviceTimeoutSec=15min\n' >/etc/systemd/system.conf.d/patience.conf
systemctl enable systemd-networkd systemd-resolved serial-getty@ttyS0 >/dev/null 2>&1
SETTINGS
autologin=/etc/systemd/system/serial-getty@.service.d/autologin.conf
case $login in
locked) ;; # root has no password: nobody logs in before somebody sets one
autologin)
	echo "printf '[Service]\\nExecStart=\\nExecStart=-/sbin/agetty --autologin root --keep-baud 115200,57600,38400,9600 - \$TERM\\n' >$autologin" >>"$work/settings"
	;;
password:*)
	# The image gets the hash alone.
	hash=$(printf '%s\n' "${login#password:}" | openssl passwd -6 -stdin 2>/dev/null) || quit "cannot hash the password: install Debian's package openssl"
	echo "usermod -p '$hash' root" >>"$work/settings"
	;;
esac

echo "steelyard: image: making Debian $suite $arch, some minutes; $work/log tells" >&2
mode=unshare
unshare --user --map-auto --map-root-user true 2>/dev/null || [ "$(id -u)" -eq 0 ] || mode=fakechroot
[ $mode = unshare ] || command -v fakechroot >/dev/null || quit "this host has no user namespaces for us: install Debian's packages uidmap and fakechroot"
set -- --mode=$mode --variant=minbase --architectures="$arch" --include="$include" \
	--aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Retries "3"' \
	--customize-hook='printf "%s\n" "$STEELYARD_SETTINGS" | chroot "$1" sh -s'
# By the environment, for the namespace's root may not reach our files.
install() { STEELYARD_SETTINGS=$(cat "$work/settings") mmdebstrap "$@" "$suite" - "$work/sources" </dev/null >"$work/root.tar" 2>"$work/log"; }
install "$@" || {
	# A mirror in the middle of an update of an index beside the suite's own is no reason to fail: what counts is whether there are packages.
	if [ "$(wc -l <"$work/sources")" -gt 1 ] && grep -q 'index files failed to download' "$work/log"; then
		echo "steelyard: image: without the updates of $suite: $(grep -m 1 '^E: ' "$work/log")" >&2
		sed -i '1!d' "$work/sources"
		install "$@"
	else
		false
	fi
} || {
	why=$(grep -m 1 '^E: ' "$work/log")
	quit "mmdebstrap failed: ${why:-$(tail -n 1 "$work/log")}"
}
echo "steelyard: image: making the file system" >&2

# fakeroot remembers owners and device files between the two programs that ask.
mkdir "$work/root"
cat >"$work/fill" <<'FILL'
set -e
tar -x -p --numeric-owner -f "$1/root.tar" -C "$1/root"
mke2fs -q -t ext4 -L steelyard -E root_owner=0:0,lazy_itable_init=0 -O ^metadata_csum_seed -d "$1/root" "$1/image" "$2"
FILL
fakeroot sh "$work/fill" "$work" "$size" >"$work/fill.log" 2>&1 || quit "mke2fs failed, perhaps --size $size is too small: $(tail -n 1 "$work/fill.log")"
for part in vmlinuz initrd.img; do
	file=$(ls "$work"/root/boot/$part-* 2>/dev/null | sort -V | tail -n 1)
	[ -s "$file" ] || quit "the packages brought no /boot/$part-*"
	cp "$file" "$work/image.${part%.img}" && chmod 644 "$work/image.${part%.img}" || quit "cannot copy $file"
done
{
	echo "# key $key"
	echo "# suite $suite arch $arch size $size mode $mode"
	sed 's/^/# /' "$work/sources"
	echo "# package version"
	awk '/^Package: / { p = $2 } /^Version: / { print p, $2 }' "$work/root/var/lib/dpkg/status" | sort
} >"$work/image.manifest"

# Into the cache at once: who looks finds a whole image or none.
mkdir "$work/keep" && mv "$work"/image* "$work/keep/" && chmod 755 "$work/keep" || quit "cannot write to $cache"
[ -z "$fresh" ] || rm -rf "$kept"
mv -T "$work/keep" "$kept" 2>/dev/null || [ -s "$kept/image.manifest" ] || quit "cannot write to $cache"
deliver
