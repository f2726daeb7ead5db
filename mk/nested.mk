# SPDX-License-Identifier: GPL-2.0-or-later
# make nested-test: the kvm path on real KVM code, on an AMD-V processor that QEMU emulates. Half an hour; not part of make check.
NESTED ?= probe unit guest turns linux switch
$(GUEST)/nested/MANIFEST: mk/guest-files.sh
	@echo "guest files: Debian kernel with KVM"
	$(Q)sh mk/guest-files.sh amd64 linux-image-amd64 $(@D) irqbypass ccp kvm kvm-amd
nested-test: $(O)/steelyard $(GUEST_TESTS) $(UNIT_TESTS) $(GUEST)/nested/MANIFEST $(GUEST)/amd64/initrd $(O)/mkcpio
	$(Q)STEELYARD=$(abspath $(O))/steelyard GUEST=$(abspath $(GUEST)) TOOLS=$(abspath $(O))/tests/e2e MKCPIO=$(abspath $(O))/mkcpio \
		NESTED_HOST=$(abspath $(GUEST))/nested NESTED="$(NESTED)" bash tests/e2e/nested.sh
.PHONY: nested-test
