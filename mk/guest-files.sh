#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# guest-files.sh ARCH KERNEL_PACKAGE DIR [MODULE...]
#
# Puts Debian's own kernel, modules of it and static busybox into DIR: vmlinuz, MODULE.ko, busybox, and a line for each in MANIFEST; in DIR/modules
# the kernel's drivers for our devices, and "order", their names in the order in which they are loaded; xen, where the archive has
# that hypervisor for ARCH. The packages
# are downloaded and unpacked, never installed. The system's apt configuration supplies the sources and keys; when it
# cannot answer for ARCH (another architecture, no lists, lists older than the archive) a set of lists private to DIR is
# used, so that the system's own state is never changed and no privileges are needed.
set -eu
arch=$1 kernel=$2 dir=$3
shift 3
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
work=$dir/.fetch
rm -rf "$work/new"
mkdir -p "$work/new"

fail() {
	echo "guest files ($arch): $*" >&2
	exit 1
}

private=
apt_options() {
	[ -n "$private" ] || return 0
	printf '%s\n' -o "APT::Architecture=$arch" -o "APT::Architectures=$arch" -o "Dir::State::Lists=$work/lists" \
		-o "Dir::Cache=$work/cache" -o "Dir::State::status=$work/status"
}
use_private() {
	private=1
	mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
	: >"$work/status"
	# One index of a mirror in the middle of an update is no reason to fail: what counts is whether the packages are found.
	apt-get $(apt_options) update -q >"$work/update.log" 2>&1 || true
}
# The metapackage depends on the kernel of the day.
kernel_package() {
	apt-cache $(apt_options) depends --important "$kernel" 2>/dev/null |
		sed -n 's/^ *Depends: \(linux-image-[0-9].*\)$/\1/p' | head -n 1
}
xen_package() {
	apt-cache $(apt_options) pkgnames xen-hypervisor- | grep -E "^xen-hypervisor-[0-9.]+-$arch\$" | sort -V | tail -n 1
}
download() {
	real=$(kernel_package)
	[ -n "$real" ] || return 1
	(cd "$work/new" && rm -f ./*.deb && apt-get $(apt_options) download -q "$real" busybox-static $(xen_package)) >"$work/download.log" 2>&1
}

[ "$arch" = "$(dpkg --print-architecture)" ] || use_private
if ! download; then
	use_private
	download || fail "cannot download $kernel and busybox-static; see $work/update.log and $work/download.log"
fi

extract() { # package pattern, path inside, destination
	deb=$(ls "$work/new"/$1 2>/dev/null | head -n 1)
	[ -n "$deb" ] || fail "no package file matches $1"
	dpkg-deb --fsys-tarfile "$deb" | tar -x -O --wildcards "$2" >"$3.part"
	[ -s "$3.part" ] || fail "$deb holds no $2"
	mv "$3.part" "$3"
	printf '%s %s %s %s %s\n' "$(basename "$3")" "$(sha256sum <"$3" | cut -d' ' -f1)" \
		"$(dpkg-deb -f "$deb" Package)" "$(dpkg-deb -f "$deb" Version)" "$(sha256sum <"$deb" | cut -d' ' -f1)" >>"$work/manifest"
}
echo "# file sha256 package version package-sha256" >"$work/manifest"
extract 'linux-image-*.deb' './boot/vmlinuz-*' "$dir/vmlinuz"
for m; do extract 'linux-image-*.deb' "*/$m.ko" "$dir/$m.ko"; done
extract 'busybox-static_*.deb' './bin/busybox' "$dir/busybox"
chmod 755 "$dir/busybox"
rm -f "$dir/xen"
if ls "$work/new"/xen-hypervisor-*.deb >/dev/null 2>&1; then
	extract 'xen-hypervisor-*.deb' './boot/xen-*.gz' "$dir/xen.gz"
	gzip -dc "$dir/xen.gz" >"$dir/xen"
fi

# What is no module of this kernel is built into it.
rm -rf "$dir/modules"
mkdir -p "$dir/modules" "$work/ko"
dpkg-deb --fsys-tarfile "$work/new"/linux-image-*.deb | tar -x -C "$work/ko" --wildcards './lib/modules/*.ko'
for m in crc16 crc32c_generic libcrc32c mbcache jbd2 ext4 virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci \
	virtio_blk failover net_failover virtio_net virtio_console virtio-rng virtio_balloon vsock \
	vmw_vsock_virtio_transport_common vmw_vsock_virtio_transport nvme-common nvme-core nvme; do
	ko=$(find "$work/ko" -name "$m.ko" | head -n 1)
	[ -n "$ko" ] || continue
	cp "$ko" "$dir/modules/$m.ko"
	echo "$m" >>"$dir/modules/order"
done
mv "$work/manifest" "$dir/MANIFEST"
rm -rf "$work"
