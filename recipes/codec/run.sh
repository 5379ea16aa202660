#!/usr/bin/env bash
# `mini` on your own audio, about an hour and a half on two CPU cores. Each line can be run alone and goes on where
# it was stopped; `almtok run codec` with the same options runs them all. Say where the audio is, as sources of almtok
# (docs/data.md), by words of the shell:
#   TRAIN="speech=voices/ sound=noises/ music=tunes/" VALID="..." TEST="..." recipes/codec/run.sh
set -euo pipefail
: "${TRAIN:?sources to train on}" "${VALID:?held-out sources}" "${TEST:?sources to judge on}"
run() { almtok run codec --train $TRAIN --valid $VALID --test $TEST --out "${OUT:-runs/codec}" "$@"; }

# What will be done, in the commands of almtok and the configurations that differ from its defaults.
run --dry-run

# 1. The first codebook, from spectra. With the paper's teachers: --teacher-speech wav2vec2
#    --teacher-sound beats:FILE, a codec of prior_dim 768, and a GPU.
run --to prior

# 2. The two stages; then the decoder side alone, which leaves the codes (and what a language model
#    has learned of them) as they are. A number is changed by its name: --stage2.steps 6000
run --from stage1 --to stage1
run --from stage2 --to stage2
run --from adapt --to adapt
run --from sharper --to sharper

# 3. Beside what a telephone would use at such rates (those that are installed).
run --from scores
