# SPDX-License-Identifier: GPL-2.0-or-later
# Firmware as a person sees it: SeaBIOS and OVMF start GRUB from a disk, GRUB starts Debian's kernel; boot menus, the shells of iPXE
# and OVMF, memtest86+, CDs with ISOLINUX and GRUB, PXE by user networking and from dnsmasq, the Debian installer. The tests read the screen, type, and look at what Linux logs of
# the machine that the firmware has left.
. "$(dirname "$0")/lib.sh"
export XDG_RUNTIME_DIR=$work/run
mkdir -m 0700 "$XDG_RUNTIME_DIR"
trap 'kill $(jobs -p) 2>/dev/null; rm -rf "$work"' EXIT
IMAGES=${IMAGES:-$GUEST/images}
PATIENCE=${PATIENCE:-150} # seconds until something that has not come will not come

vm() { timeout -k 5 60 "$STEELYARD" vm "$@" 2>>"$work/vm.err"; }
have() { # NAME FILE...: or says what is missing
	local name=$1 f
	shift
	for f; do
		[ -r "$f" ] || command -v "$f" >/dev/null || { skip "$name: no $f here"; return 1; }
	done
}
# start NAME ARGS...: a machine with firmware in the background, COM1 in $work/NAME.raw; ready when it answers
start() {
	local name=$1
	shift
	timeout -k 5 $((PATIENCE * 3)) $in_ns "$STEELYARD" run --name "$name" --timeout $((PATIENCE * 3 - 10)) --serial "file:$work/$name.raw" \
		--debugcon "file:$work/$name.log" "$@" </dev/null >"$work/$name.end" 2>"$work/$name.err" &
	pid=$!
	for _ in $(seq 200); do
		vm status "$name" >"$work/none" && return 0
		kill -0 $pid 2>/dev/null || break
		sleep 0.1
	done
	echo "     $name does not start: $(head -n 2 "$work/$name.err")"
	return 1
}
in_ns=
# until_seen COMMAND...: true as soon as the command is
until_seen() {
	local end=$((SECONDS + PATIENCE))
	until "$@"; do
		[ $SECONDS -lt $end ] && kill -0 "$pid" 2>/dev/null || { "$@" && return 0; return 1; }
		sleep 0.3
	done
}
screen_has() { vm screen "$1" | grep -q -- "$2"; }
serial_has() { cat "$work/$1.raw" 2>/dev/null | tr -d '\r' | grep -qa -- "$2"; }
shows() { # NAME TEXT
	until_seen screen_has "$1" "$2" && return 0
	echo "     $1 does not show \"$2\": $(vm screen "$1" | grep . | tail -n 4 | tr '\n' '|') $(head -n 2 "$work/$1.err")"
	return 1
}
says() {
	until_seen serial_has "$1" "$2" && return 0
	echo "     $1 does not say \"$2\": $(tail -c 200 "$work/$1.raw" | tr -d '\r\033' | tr '\n' '|') $(head -n 2 "$work/$1.err")"
	return 1
}
type_in() { vm type "$1" "$2" >"$work/none"; }
stop() { vm stop "$1" --force >"$work/none"; wait "$pid" 2>/dev/null; }
# ended NAME: by itself, with a power-off
ended() {
	wait "$pid"
	status=$?
	[ "$status" -eq 0 ] && return 0
	echo "     $1 ended with $status: $(head -n 2 "$work/$1.err")"
	return 1
}
# sound NAME: Linux ran to its end and complains of nothing
bad='Call Trace|BUG:|unstable|nobody cared|lost interrupt|I/O error|ACPI Error|ACPI BIOS Error|can.t claim|no compatible bridge|Firmware Bug|WARNING:'
sound() {
	serial_has "$1" 'STEELYARD END' && ! grep -aqE "$bad" "$work/$1.raw" && return 0
	echo "     $1: $(grep -aE "$bad" "$work/$1.raw" | head -n 3 | tr -d '\r' | tr '\n' '|')"
	return 1
}

# ---- a disk with GRUB, for both firmwares ----
grub_image() { # FILE TIMEOUT
	mkdir -p "$work/disk/boot/grub"
	cp "$GUEST/amd64/vmlinuz" "$GUEST/amd64/initrd" "$work/disk/boot/"
	cp /boot/memtest86+x64.bin "$work/disk/boot/memtest" 2>/dev/null
	for f in vmlinuz initrd; do cp "$IMAGES/amd64.img.$f" "$work/disk/boot/debian-$f" 2>/dev/null; done
	cat >"$work/disk/boot/grub/grub.cfg" <<GRUB
serial --unit=0
terminal_input console serial
terminal_output console serial
set timeout=$2
menuentry "First entry" {
	linux /boot/vmlinuz console=ttyS0 panic=-1 first steelyard.poweroff
	initrd /boot/initrd
}
menuentry "Second entry" {
	linux /boot/vmlinuz console=ttyS0 panic=-1 second steelyard.poweroff
	initrd /boot/initrd
}
menuentry "Debian" {
	linux /boot/debian-vmlinuz root=LABEL=steelyard console=ttyS0
	initrd /boot/debian-initrd
}
menuentry "Memory test" {
	linux16 /boot/memtest
}
GRUB
	grub-mkrescue -o "$1" "$work/disk" >"$work/mkrescue" 2>&1
}
grub=
if have "GRUB" grub-mkrescue xorriso mformat /usr/lib/grub/i386-pc/boot.img /usr/lib/grub/x86_64-efi/kernel.img "$GUEST/amd64/vmlinuz"; then
	if grub_image "$work/grub.img" 60; then grub=$work/grub.img; else fail "grub-mkrescue: $(tail -n 1 "$work/mkrescue")"; fi
fi

seabios_grub() { # PATH NAME ARGS...
	local path=$1 n=$2
	shift 2
	start "$n" --bios seabios --path "$path" --disk "file=$grub,readonly" "$@" || { fail "$path: SeaBIOS starts"; return; }
	check "$path: SeaBIOS starts GRUB, whose menu is on the screen" shows "$n" 'First entry'
	type_in "$n" '<down>'
	check "$path: the keyboard moves the cursor" shows "$n" '\*Second entry'
	type_in "$n" '<enter>'
	check "$path: GRUB starts Debian's kernel, which powers off" ended "$n"
	check "$path: with the words of the entry" serial_has "$n" 'Command line: .* second'
	check "$path: Linux complains of nothing" sound "$n"
	check "$path: it finds ECAM where SeaBIOS has put it" serial_has "$n" 'MMCONFIG at .mem 0xb0000000-0xbfffffff. reserved'
}
if have "SeaBIOS" /usr/share/seabios/bios-256k.bin && [ "$grub" ]; then
	seabios_grub bt sb --memory 3G --cpus 2
	check "bt: RAM below ECAM and above 4 GiB" serial_has sb 'BIOS-e820: .mem 0x0000000100000000-0x000000013fffffff. usable'
	check "bt: both processors" serial_has sb 'STEELYARD GUEST cpus=2'
	seabios_grub interp si
	if [ -w /dev/kvm ]; then
		"$STEELYARD" probe --quick --json </dev/null >"$work/probe" 2>&1
		seabios_grub kvm sk --json
		if ! grep -q '"path": "kvm"' "$work/probe"; then
			skip "SeaBIOS on kvm to its end: $(sed -n 's/^verdict *//p' <<<"$("$STEELYARD" probe --quick </dev/null 2>&1)" | cut -c1-100)"
			check "kvm: on a KVM that is not native the machine goes on on bt by itself, and says why" \
				grep -qE '"from":"kvm","to":"bt","cause":"[a-z]+","cs":[0-9]+,"rip":[0-9]+,"why":"[^"]{10,}' "$work/sk.err"
		fi
	else
		skip "SeaBIOS on kvm: no /dev/kvm that we may open"
	fi
	if have "memtest86+" /boot/memtest86+x64.bin && start mt --bios seabios --path bt --memory 64M --disk "file=$grub,readonly"; then
		shows mt 'First entry' && type_in mt '<end><enter>'
		check "memtest86+ runs" shows mt 'Memtest86+'
		check "memtest86+ tests memory and finds it good" shows mt 'Errors: 0'
		check "memtest86+ comes on" shows mt 'Test #[3-9]'
		stop mt
	fi
fi

# ---- CDs ----
if have "CDs" /usr/share/seabios/bios-256k.bin xorriso /usr/lib/ISOLINUX/isolinux.bin /usr/lib/syslinux/modules/bios/ldlinux.c32 "$GUEST/amd64/vmlinuz"; then
	mkdir -p "$work/cd/isolinux" "$work/cd/boot"
	cp "$GUEST/amd64/vmlinuz" "$GUEST/amd64/initrd" "$work/cd/boot/"
	cp /usr/lib/ISOLINUX/isolinux.bin /usr/lib/syslinux/modules/bios/ldlinux.c32 "$work/cd/isolinux/"
	cat >"$work/cd/isolinux/isolinux.cfg" <<'CFG'
SAY A disc of the tests
PROMPT 1
TIMEOUT 3000
DEFAULT one
LABEL one
 KERNEL /boot/vmlinuz
 APPEND initrd=/boot/initrd console=ttyS0 panic=-1 isolinux steelyard.poweroff
CFG
	xorriso -as mkisofs -o "$work/cd.iso" -b isolinux/isolinux.bin -c isolinux/boot.cat -no-emul-boot -boot-load-size 4 -boot-info-table \
		-isohybrid-mbr /usr/lib/ISOLINUX/isohdpfx.bin "$work/cd" >"$work/mkisofs" 2>&1
	for path in bt interp; do
		start cd-$path --bios seabios --path $path --boot order=d --cdrom "$work/cd.iso" || { fail "$path: a CD"; continue; }
		check "$path: SeaBIOS starts ISOLINUX from a CD" shows cd-$path 'A disc of the tests'
		type_in cd-$path 'one<enter>'
		check "$path: ISOLINUX starts Debian's kernel, which powers off" ended cd-$path
		check "$path: with the words of the label" serial_has cd-$path 'Command line: .* isolinux'
		check "$path: Linux complains of nothing" sound cd-$path
	done
	if start cd-disk --bios seabios --path bt --disk "file=$work/cd.iso,readonly"; then
		check "the same image as a disk" shows cd-disk 'A disc of the tests'
		stop cd-disk
	fi
fi

# ---- boot menu, network ----
if have "SeaBIOS's menu" /usr/share/seabios/bios-256k.bin /usr/lib/ipxe/qemu/pxe-virtio.rom; then
	if start me --bios seabios --path bt --boot order=n,menu --net user; then
		shows me 'Press ESC' && type_in me '<esc>'
		check "SeaBIOS's boot menu has the network" shows me '1. iPXE'
		type_in me 1
		shows me 'Ctrl-B' && type_in me '<ctrl-b>'
		check "the iPXE shell" shows me '^iPXE>'
		type_in me 'dhcp<enter>'
		check "iPXE gets an address" shows me 'Configuring (net0.*ok'
		type_in me 'echo a$<lt>b <enter>show net0/ip<enter>'
		check "iPXE knows its address" shows me 'net0.*10\.0\.2\.15'
		stop me
	fi
	installer=/usr/lib/debian-installer/images/12/amd64/text
	if have "PXE by user networking" $installer/pxelinux.0 &&
		start pu --bios seabios --path bt --boot order=n --net "user,tftp=$installer,bootfile=pxelinux.0"; then
		check "PXE by user networking: pxelinux shows the installer's menu" shows pu 'installer menu'
		stop pu
	fi
fi

netboot=/usr/lib/debian-installer/images/12/amd64/text
if have "PXE from dnsmasq" ip dnsmasq $netboot/pxelinux.0 /usr/lib/ipxe/qemu/pxe-virtio.rom; then
	cat >"$work/ns" <<NS
ip tuntap add tap0 mode tap && ip addr add 10.8.0.1/24 dev tap0 && ip link set tap0 up && ip link set lo up || exit 77
dnsmasq --no-daemon --conf-file=/dev/null --port=0 --interface=tap0 --bind-interfaces --user=$(id -un) --dhcp-range=10.8.0.10,10.8.0.20 \\
	--dhcp-leasefile=$work/leases --dhcp-boot=pxelinux.0 --enable-tftp --tftp-root=$netboot >$work/dnsmasq 2>&1 &
server=\$!
"\$@"
status=\$?
kill \$server
exit \$status
NS
	if ! unshare -n true 2>/dev/null || ! unshare -n ip tuntap add tap0 mode tap 2>/dev/null; then
		skip "PXE from dnsmasq: this host makes no network namespace with a tap interface"
	else
		in_ns="unshare -n sh $work/ns"
		if start pd --bios seabios --path bt --boot order=n --memory 1200M --net "tap,ifname=tap0"; then
			check "PXE from dnsmasq: pxelinux shows the installer's menu" shows pd 'installer menu'
			type_in pd '<esc>'
			shows pd 'boot:'
			type_in pd 'install vga=normal console=ttyS0 TERM=linux<enter>'
			check "PXE from dnsmasq: the Debian installer's first menu" says pd 'Select a language'
			check "PXE from dnsmasq: nothing is wrong in its log" eval "! grep -aqE '$bad' '$work/pd.raw'"
			stop pd
		fi
		in_ns=
	fi
fi

# ---- OVMF ----
if have "OVMF" /usr/share/OVMF/OVMF_CODE_4M.fd; then
	if start os --bios ovmf --path bt; then
		check "OVMF's shell" says os 'Shell>'
		type_in os 'echo heard<enter>' # what is typed comes back with a move of the cursor before each character
		check "OVMF's shell hears the keyboard" says os 'heard'
		stop os
	fi
	if start ov --bios "ovmf,vars=$work/vars" --path bt && says ov 'Shell>'; then
		guid=11111111-2222-3333-4444-555555555555
		type_in ov "setvar Steel -guid $guid -nv -bs =4d45<enter>"
		check "a second machine does not get the same variables" eval \
			'"$STEELYARD" run --bios "ovmf,vars=$work/vars" --control none --path bt --timeout 5 >"$work/none" 2>"$work/two.err"; [ $? -eq 1 -a "$(wc -l <"$work/two.err")" -eq 1 ]'
		type_in ov "setvar Steel -guid $guid<enter>"
		check "OVMF keeps a variable" says ov 'Steel - 0002 Bytes'
		stop ov
		if start ow --bios "ovmf,vars=$work/vars" --path bt && says ow 'Shell>'; then
			type_in ow "setvar Steel -guid $guid<enter>"
			check "UEFI variables outlive the machine" says ow 'Steel - 0002 Bytes'
			stop ow
		fi
	fi
	if [ "$grub" ] && start og --bios ovmf --path bt --boot order=c --disk "file=$grub,readonly"; then
		check "OVMF starts GRUB" says og 'First entry'
		type_in og '<enter>'
		check "GRUB starts Debian's kernel by EFI, which powers off" ended og
		check "it is EFI" serial_has og 'efi: EFI v'
		check "Linux complains of nothing" sound og
	fi
	if [ "$grub" ] && have "OVMF from NVMe to Debian's login" "$IMAGES/amd64.img" "$IMAGES/amd64.img.initrd" &&
		start on --bios ovmf --path bt --boot order=c --memory 512M --disk "file=$grub,readonly,if=nvme" \
			--disk "file=$IMAGES/amd64.img,if=nvme" --snapshot; then
		check "OVMF starts GRUB from NVMe" says on 'First entry'
		type_in on '<down><down><enter>'
		check "GRUB reads kernel and initial RAM disk from NVMe by EFI; Debian comes to its login" says on 'steelyard login:'
		check "its root is the other NVMe disk" serial_has on 'EXT4-fs (nvme.n1): mounted'
		check "it complains of nothing" eval "! grep -aqE '$bad' '$work/on.raw'"
		stop on
	fi
	if [ "$grub" ] && start oc --bios ovmf --path bt --boot order=d --cdrom "$grub"; then
		check "OVMF starts GRUB from a CD" says oc 'First entry'
		type_in oc '<enter>'
		check "and GRUB the kernel" ended oc
		check "which complains of nothing" sound oc
	fi
fi

# ---- the Debian installer ----
installer=/usr/lib/debian-installer/images/12/amd64/text/debian-installer/amd64
if have "the Debian installer" $installer/linux; then
	for path in bt; do
		timeout -k 5 $((PATIENCE * 2)) "$STEELYARD" run --name "di-$path" --path $path --memory 1200M --kernel $installer/linux --initrd $installer/initrd.gz \
			--append "console=ttyS0 TERM=linux" --serial "file:$work/di-$path.raw" </dev/null >"$work/none" 2>"$work/di-$path.err" &
		pid=$!
		check "$path: the Debian installer's first menu" says "di-$path" 'Select a language'
		check "$path: nothing is wrong in its log" eval "! grep -aqE '$bad' '$work/di-$path.raw'"
		stop "di-$path"
	done
fi
finish
