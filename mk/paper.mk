# SPDX-License-Identifier: GPL-2.0-or-later
# make paper: the article, every figure in it out of PAPER_RESULTS. Fails when its prose holds a figure that is not.
PAPER_RESULTS ?= eval/results/full
PAPER := $(O)/paper
PAPER_TEX := paper/steelyard.tex $(wildcard paper/sections/*.tex)

paper: paper/steelyard.pdf
.PHONY: paper paper/steelyard.pdf
paper/steelyard.pdf: $(O)/steelyard
	$(Q)ls $(PAPER_RESULTS)/results.jsonl* >/dev/null 2>&1 || { echo 'make paper: no results in $(PAPER_RESULTS): PAPER_RESULTS=DIR names a folder of steelyard eval run' >&2; exit 1; }
	$(Q)sh mk/deps.sh mk/packages-paper.txt
	$(Q)sh paper/lint.sh paper/names.txt $(PAPER_TEX)
	$(Q)rm -rf $(PAPER) && mkdir -p $(PAPER)
	$(Q)cp -r paper/*.tex paper/*.bib paper/sections $(PAPER_RESULTS)/results.jsonl* $(PAPER)/
	$(Q)$(O)/steelyard eval verify $(PAPER_RESULTS)
	$(Q)$(O)/steelyard eval report $(PAPER) >/dev/null
	$(Q)sh paper/generate.sh $(PAPER) $(PAPER)/generated
	$(Q)sh paper/typeset.sh $(PAPER) steelyard
	$(Q)cp $(PAPER)/steelyard.pdf $@
