# SPDX-License-Identifier: GPL-2.0-or-later
# Networks: Debian's cloud kernel with its own virtio-net fetches a file from a server on this host through user networking, on
# bt and interp, with one and two vCPUs; a port forward leads back; two machines on one wire see each other; a tap interface in
# a network namespace; the dump; the random numbers; what is wrong with options.
. "$(dirname "$0")/lib.sh"
if ! devices_initrd; then
	skip "networks: no $GUEST/amd64/devices.cpio"
	finish
fi
port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

if ! command -v python3 >/dev/null; then
	skip "user networking: no python3 for the server"
else
	mkdir -p "$work/www"
	head -c 2000000 /dev/urandom >"$work/www/file"
	sum=$(sha256sum <"$work/www/file" | cut -d' ' -f1)
	at=$(port)
	python3 -m http.server --directory "$work/www" --bind 127.0.0.1 "$at" >"$work/http" 2>&1 &
	server=$!
	trap 'kill $server 2>/dev/null; rm -rf "$work"' EXIT
	guest bt1 "list+dhcp+net+fetch=$at+rng" --path bt --net "user,pcap=$work/dump" --rng
	check "bt: DHCP, the network, random numbers" clean bt1
	check "bt: the file arrives as it is" grep -q "SUM $sum" "$work/bt1.out"
	check "bt: the dump holds it" [ "$(stat -c %s "$work/dump" 2>/dev/null || echo 0)" -gt 2000000 ]
	check "bt: the dump is one" [ "$(od -An -tx4 -N4 "$work/dump" | tr -d ' ')" = a1b23c4d ]
	guest bt2 "net+fetch=$at+rng" --path bt --cpus 2 --net user --rng
	check "bt, 2 vCPUs: the network, random numbers" clean bt2
	check "bt, 2 vCPUs: the file arrives as it is" grep -q "SUM $sum" "$work/bt2.out"
	guest in1 "net+fetch=$at+rng" --path interp --net user --rng
	check "interp: the network, random numbers" clean in1
	check "interp: the file arrives as it is" grep -q "SUM $sum" "$work/in1.out"
	guest mq "net+queues+fetch-each=$at" --path bt --cpus 2 --net user,queues=4
	check "bt, 2 vCPUs, four pairs of queues: the network" clean mq
	check "Linux uses a pair for each vCPU" grep -qx 'QUEUES rx-0 rx-1 tx-0 tx-1 *' "$work/mq.out"
	check "each vCPU's file arrives as it is" [ "$(grep -c "^SUM [01] $sum" "$work/mq.out")" -eq 2 ]
	check "what a vCPU asked for comes in its own queue" [ "$(grep -cE '^COUNT input\.[01] [0-9]{2,}$' "$work/mq.out")" -eq 2 ]
	kill $server 2>/dev/null

	back=$(port)
	start fwd "net+httpd+wait=60" --path bt --net "user,hostfwd=tcp:127.0.0.1:$back-:80"
	page=
	if said fwd 'DEVICE httpd ok'; then
		page=$(timeout 60 python3 -c "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:$back/page', timeout=50).read().decode())")
	fi
	check "a forwarded port leads to the guest" [ "$page" = "a page of the guest" ]
	stop fwd "$pid"
	check "the guest with the forward ends well" clean fwd
fi

start one "addr=10.9.0.1+wait=40+ping=10.9.0.2" --path bt --net "socket,path=$work/wire"
first=$pid
for _ in $(seq 100); do [ -S "$work/wire" ] && break; sleep 0.1; done
start two "addr=10.9.0.2+wait=2+ping=10.9.0.1+wait=60" --path bt --net "socket,path=$work/wire"
second=$pid
stop one "$first"
check "two machines on a wire: one sees the other" clean one
stop two "$second"
check "two machines on a wire: and the other way" clean two
check "the wire's socket is gone" [ ! -e "$work/wire" ]

if unshare -n true 2>/dev/null && [ -w /dev/net/tun ]; then
	cat >"$work/ns" <<'NS'
ip tuntap add tap0 mode tap $QUEUES && ip addr add 10.8.0.1/24 dev tap0 && ip link set tap0 up || exit 77
exec "$@"
NS
	if ! command -v ip >/dev/null; then
		skip "tap: no ip command"
	else
		in_ns="unshare -n env QUEUES= sh $work/ns"
		guest tap "addr=10.8.0.2+ping=10.8.0.1" --path bt --net "tap,ifname=tap0"
		in_ns=
		if [ "$status" -eq 77 ]; then skip "tap: this host makes no tap interface"; else
			check "tap: the guest sees the host" clean tap
			in_ns="unshare -n env QUEUES=multi_queue sh $work/ns"
			guest tapmq "addr=10.8.0.2+ping=10.8.0.1+queues" --path bt --cpus 2 --net "tap,ifname=tap0,queues=2"
			check "tap with two queues, 2 vCPUs: the guest sees the host" clean tapmq
			check "tap with two queues: Linux uses them" grep -qx 'QUEUES rx-0 rx-1 tx-0 tx-1 *' "$work/tapmq.out"
			in_ns="unshare -n env QUEUES= sh $work/ns"
			refused "two queues on a tap that has one" 1 --net "tap,ifname=tap0,queues=2"
			in_ns=
		fi
	fi
else
	skip "tap: no network namespaces or no /dev/net/tun here"
fi

refused "more queues than there can be" 2 --net user,queues=17
refused "no queue" 2 --net user,queues=0
refused "no such kind" 2 --net cable
refused "a bad MAC address" 2 --net user,mac=53:54:00:12:34:56
refused "a bad forward" 2 --net user,hostfwd=tcp:80
refused "a forward on a tap" 2 --net tap,ifname=x,hostfwd=tcp::80-:80
refused "a tap that there is not" 1 --net tap,ifname=../nowhere
refused "a dump that cannot be written" 1 --net "user,pcap=$work/none/dump"
finish
