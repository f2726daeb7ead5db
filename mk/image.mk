# SPDX-License-Identifier: GPL-2.0-or-later
# The program carries the script that makes images.
$(O)/mgmt/image_script.o: mgmt/image_build.sh

# make images: the Debian images that tests and benchmarks boot, from Debian's archive into $(GUEST)/images. Some minutes, once.
images: all
	$(Q)for a in amd64 i386; do sh mk/images.sh $(O)/steelyard $(GUEST)/images $$a || exit 1; done
.PHONY: images

# make idle-test: what machines that do nothing cost this host; IDLE_COUNT machines of IDLE_MIB each.
IDLE_COUNT ?= 20
IDLE_MIB ?= 192
idle-test: images
	$(Q)bash mk/idle.sh $(O)/steelyard $(GUEST)/images/amd64.img 1 $(IDLE_MIB) 30
	$(Q)bash mk/idle.sh $(O)/steelyard $(GUEST)/images/amd64.img $(IDLE_COUNT) $(IDLE_MIB) 30
.PHONY: idle-test

# make bench-io: boot, fio and iperf3 beside QEMU TCG, IO_PAIRS times.
IO_PAIRS ?= 3
bench-io: images
	$(Q)bash mk/bench-io.sh $(O)/steelyard $(GUEST)/images/amd64.img $(IO_PAIRS)
.PHONY: bench-io
