# SPDX-License-Identifier: GPL-2.0-or-later
# Debian 12 as people install it, from a virtio disk with its own kernel and initial RAM disk, on bt: systemd says "running", the network
# is up, a file comes from a server on this host as it is, a C program compiled in the machine computes what it computes here, nothing in
# the boot's log is amiss, and the file system is sound afterwards. amd64 and i386. The same amd64 disk again from NVMe, with the cloud
# kernel's own driver and no initial RAM disk. The images are made by "steelyard image build", once.
. "$(dirname "$0")/lib.sh"
IMAGES=${IMAGES:-$GUEST/images}

# ---- what is wrong with a request is said before anything is downloaded ----
refused() { # NAME STATUS ARGS...
	local name=$1 want=$2
	shift 2
	timeout 60 "$STEELYARD" image "$@" </dev/null >"$work/bad.out" 2>"$work/bad.err"
	check "$name" [ $? -eq "$want" -a "$(wc -l <"$work/bad.err")" -eq 1 -a ! -s "$work/bad.out" -a ! -e "$work/bad.img" ]
}
o="--cache $work/images -o $work/bad.img"
refused "image: no verb" 2
refused "image: no file" 2 build
refused "image: an unknown option" 2 build $o --colour
refused "image: an unknown architecture" 2 build $o --arch vax
refused "image: a suite that is an option" 2 build $o --suite=-x
refused "image: a size without its unit" 2 build $o --size 7
refused "image: a size that nothing fits into" 2 build $o --size 1M
refused "image: packages that are shell code" 2 build $o --packages 'gcc;reboot'
refused "image: two ways to log in" 2 build $o --autologin --root-password x
refused "image: no such folder" 1 build --cache "$work/images" -o "$work/none/bad.img"
refused "image: a cache that cannot be" 1 build --cache /proc/none -o "$work/bad.img"
timeout 60 "$STEELYARD" image build $o --mirror file:///nowhere </dev/null >"$work/bad.out" 2>"$work/bad.err"
check "image: no such mirror: the last line says so, nothing stays" \
	[ $? -eq 1 -a "$(grep -c '^steelyard: image: .*\(failed\|has no\)' "$work/bad.err")" -eq 1 -a -z "$(ls "$work/images" 2>/dev/null)" ]

# ---- the machines ----
if ! command -v python3 >/dev/null; then
	skip "Debian: no python3 for the server"
	finish
fi
mkdir -p "$work/www" "$IMAGES"
head -c 3000000 /dev/urandom >"$work/www/file"
sum=$(sha256sum <"$work/www/file" | cut -d' ' -f1)
# Integers, floating point, threads, the heap.
cat >"$work/www/prog.c" <<'C'
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#define N 200000
static void *primes(void *arg)
{
	char *no = calloc(N, 1);
	long long sum = 0;
	for (int i = 2; i < N; i++) {
		if (no[i])
			continue;
		sum += i;
		for (long j = (long)i * 2; j < N; j += i)
			no[j] = 1;
	}
	free(no);
	return memcpy(arg, &sum, sizeof(sum));
}
int main(void)
{
	pthread_t t[4];
	long long sums[4], all = 0;
	double f = 0;
	for (int i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, primes, &sums[i]);
	for (int i = 0; i < 4; i++) {
		pthread_join(t[i], NULL);
		all ^= sums[i] * (i + 1) % 1000003;
	}
	for (int i = 1; i < 10000; i++)
		f += sqrt(i) / (i + 1);
	printf("%lld %.6f\n", all, f);
	return 0;
}
C
gcc -O2 -pthread -o "$work/prog" "$work/www/prog.c" -lm 2>"$work/gcc" && want=$("$work/prog")
cat >"$work/www/look" <<'LOOK'
echo "IS $(systemctl is-system-running --wait)"
systemctl --failed --no-legend --plain
echo "ARCH $(dpkg --print-architecture) $(uname -m) $(findmnt -no SOURCE,FSTYPE / | tr -s ' ')"
/lib/systemd/systemd-networkd-wait-online --timeout=90 2>&1 # the IPv6 address takes its seconds, the machine is not "configured" before
networkctl --no-legend list
echo "NET $(networkctl --no-legend list | grep -c 'ether *routable *configured') $(getent hosts steelyard | wc -l)"
echo "CLOCK $(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)"
cd /root && curl -fsS --max-time 100 -o file "$1/file" && echo "SUM $(sha256sum <file | cut -d' ' -f1)"
curl -fsS -o prog.c "$1/prog.c" && gcc -O2 -pthread -o prog prog.c -lm && echo "PROG $(./prog)"
dmesg | sed 's/^/DMESG /'
echo RESTS
for i in 30 20 20 20 20; do
	sleep $i
	curl -fsS -o /dev/null "$1/rested" 2>/dev/null && break
done
echo "AGAIN $(./prog)"
echo LOOKED
LOOK
sed '/^echo RESTS/,/^echo "AGAIN/d' "$work/www/look" >"$work/www/look-once" # without the rest
at=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
python3 -m http.server --directory "$work/www" --bind 127.0.0.1 "$at" >"$work/http" 2>&1 &
server=$!
trap 'kill $server 2>/dev/null; rm -rf "$work"' EXIT
said() { # TEXT SECONDS: waits until the machine has said it
	for _ in $(seq $(($2 * 5))); do
		grep -qa "$1" "$work/raw" && return 0
		kill -0 "$pid" 2>/dev/null || return 1
		sleep 0.2
	done
	return 1
}
flushed() { timeout 20 "$STEELYARD" vm stats "$work/control" -o json 2>/dev/null | grep -o '"bt_cache_flushes": *[0-9]*' | grep -o '[0-9]*$' || echo 0; }
# Boots $img, does what $look says; in $work/out what it said
debian() { # ARGS...
	rm -f "$work/in"
	mkfifo "$work/in"
	timeout -k 5 460 "$STEELYARD" run --path bt --memory 512M --kernel "$img.vmlinuz" \
		--net user --rng --control "$work/control" --timeout 440 "$@" <"$work/in" >"$work/raw" 2>"$work/err" &
	pid=$!
	exec 9>"$work/in"
	said "steelyard login: root (automatic login)" 400 && said 'root@steelyard:~#' 60 &&
		echo "curl -fsS --retry 9 --retry-connrefused --max-time 100 http://10.0.2.2:$at/$look | sh -s http://10.0.2.2:$at; poweroff" >&9
	# A machine that rests forgets its translations (translator/bt_rest.c); the file that says so ends its rest.
	flushes=$(flushed) rested=
	while kill -0 "$pid" 2>/dev/null; do # it has a timeout
		grep -qa '^RESTS' "$work/raw" || flushes=$(flushed)
		[ -z "$rested" ] && [ "$(flushed)" -gt "${flushes:-0}" ] && grep -qa '^RESTS' "$work/raw" && rested=1 && : >"$work/www/rested"
		sleep 5 # asking costs the machine time too
	done
	wait "$pid"
	status=$?
	rm -f "$work/www/rested"
	exec 9>&-
	# without what the shell and systemd tell terminals
	tr -d '\r' <"$work/raw" | sed 's/\x1b\[[0-9;?]*[A-Za-z]//g' >"$work/out"
}
ended() {
	[ "$status" -eq 0 ] && grep -q LOOKED "$work/out" && return 0
	echo "     status $status; $(tail -n 3 "$work/out" | tr '\n' '|') $(tail -n 2 "$work/err")"
	return 1
}
line() { # TEXT
	grep -qxF "$1" "$work/out" && return 0
	echo "     $(grep -a "^${1%% *} " "$work/out" | head -n 1)"
	return 1
}
sound() { e2fsck -fn "$img" >"$work/fsck" 2>&1; }
complaints() { # nothing in the kernel's log, or in systemd's, that a machine which works would not say
	grep -nE 'Call Trace|unstable|nobody cared|[Ll]ost interrupt|I/O error|Kernel panic|BUG:|WARNING:|rcu.*stall|soft lockup|hung task|segfault|FAILED|MP-BIOS bug|no longer affine|timed out|Oops' \
		"$work/out" >"$work/complaints" || return 0
	head -n 5 "$work/complaints" | sed 's/^/     /'
	return 1
}
for arch in amd64 i386; do
	# What make images has made is not made again.
	sh "$top/mk/images.sh" "$STEELYARD" "$IMAGES" $arch >"$work/built" 2>"$work/build"
	if [ $? -ne 0 ]; then
		why=$(tail -n 1 "$work/build")
		case $why in
		*"install Debian's package"* | *"knows no mirror"* | *"esolv"* | *"onnect"* | *"fetch"*) skip "Debian $arch: $why" ;;
		*) fail "Debian $arch: $why" ;;
		esac
		continue
	fi
	img=$work/$arch.img
	for part in "" .vmlinuz .initrd; do cp --sparse=always --reflink=auto "$IMAGES/$arch.img$part" "$img$part"; done
	look=look
	debian --initrd "$img.initrd" --append "root=LABEL=steelyard console=ttyS0" --disk "file=$img"
	check "Debian $arch: boots, does what it is asked, powers off" ended
	check "Debian $arch: systemd is running, nothing failed" line "IS running"
	case $arch in amd64) machine=x86_64 ;; *) machine=i686 ;; esac
	check "Debian $arch: it is what it should be, its root on the disk" line "ARCH $arch $machine /dev/vda ext4"
	check "Debian $arch: the network is up" line "NET 1 1"
	check "Debian $arch: the clock is the processor's" line "CLOCK tsc"
	check "Debian $arch: a file comes as it is" line "SUM $sum"
	check "Debian $arch: a program compiled there computes the same" line "PROG $want"
	check "Debian $arch: a machine that rests forgets its translations" [ -n "$rested" ]
	check "Debian $arch: and computes the same again" line "AGAIN $want"
	check "Debian $arch: nothing amiss in the log" complaints
	check "Debian $arch: the file system is sound" sound
	if [ "$arch" = amd64 ]; then
		look=look-once
		debian --append "root=/dev/nvme0n1 console=ttyS0" --disk "file=$img,if=nvme"
		check "Debian from NVMe, no initrd: boots, does what it is asked, powers off" ended
		check "Debian from NVMe, no initrd: systemd is running, nothing failed" line "IS running"
		check "Debian from NVMe, no initrd: its root is the NVMe disk" line "ARCH amd64 x86_64 /dev/nvme0n1 ext4"
		check "Debian from NVMe, no initrd: the network is up" line "NET 1 1"
		check "Debian from NVMe, no initrd: a file comes as it is" line "SUM $sum"
		check "Debian from NVMe, no initrd: a program compiled there computes the same" line "PROG $want"
		check "Debian from NVMe, no initrd: nothing amiss in the log" complaints
		check "Debian from NVMe, no initrd: the file system is sound" sound
	fi
	rm -f "$img"*
done
finish
