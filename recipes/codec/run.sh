#!/usr/bin/env bash
# `mini` on your own audio, about an hour and a half on two CPU cores. Each line can be run alone and goes on where
# it was stopped. Say where the audio is, as sources of almtok (docs/data.md), by words of the shell:
#   TRAIN="speech=voices/ sound=noises/ music=tunes/" VALID="..." TEST="..." recipes/codec/run.sh
set -euo pipefail
: "${TRAIN:?sources to train on}" "${VALID:?held-out sources}" "${TEST:?sources to judge on}"
OUT=${OUT:-runs/codec}

# 1. The first codebook, from spectra. With the paper's teachers: --teacher-speech wav2vec2
#    --teacher-sound beats:FILE, a codec of prior_dim 768, and a GPU.
almtok prior --data $TRAIN --cache "$OUT/cache" --out "$OUT/prior.safetensors"

# 2. The configurations of recipe.py as JSON: the place to change a number.
python -c 'import sys; from almtok.recipes.codec import recipe
recipe.write(sys.argv[1], sys.argv[2].split(), sys.argv[3].split())' "$OUT" "$TRAIN" "$VALID"

# 3. The two stages; then the decoder side alone, which leaves the codes (and what a language model
#    has learned of them) as they are.
almtok train codec --config "$OUT/stage1.json"
almtok train codec --config "$OUT/stage2.json"
almtok train codec --config "$OUT/adapt.json"

# 4. Beside what a telephone would use at such rates (those that are installed).
data=(); for source in $TEST; do data+=(--data "$source"); done
almtok evaluate codec --checkpoint "$OUT/adapt/model" "${data[@]}" --report --out "$OUT/scores" \
    --peers codec2-450 codec2-700C codec2-1300 codec2-2400 opus-6k
