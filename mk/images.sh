#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# images.sh STEELYARD DIR ARCH: the tests' Debian, DIR/ARCH.img. What is there is left alone; a new script or list makes it anew.
set -u
steelyard=$1 dir=$2 arch=$3
packages=gcc,libc6-dev,curl
[ "$arch" = i386 ] || packages=$packages,fio,iperf3
mkdir -p "$dir" || exit 1
exec "$steelyard" image build --arch "$arch" --packages $packages --autologin --cache "$dir" -o "$dir/$arch.img"
