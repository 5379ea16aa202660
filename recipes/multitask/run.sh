#!/usr/bin/env bash
# One small language model for speech, sound and music, on codes of a trained codec: about two hours on two CPU cores.
# Each line can be run alone and goes on where it was stopped; `almtok run multitask` with the same options runs them
# all. Say where the audio is, as sources of almtok (docs/data.md), by words of the shell; all of it needs texts:
#   TRAIN="speech=voices/ sound=noises/ music=tunes/" VALID="..." TEST="..." recipes/multitask/run.sh
set -euo pipefail
: "${TRAIN:?sources to train on}" "${VALID:?held-out sources}" "${TEST:?sources to judge on}"
OUT=${OUT:-runs/multitask}
run() { almtok run multitask --train $TRAIN --valid $VALID --test $TEST --out "$OUT" "$@"; }

# 1. The texts of the corpus, read by a synthesiser, whole and in pieces of a few words: alignment and spelling
#    cost no recordings. The recordings too, cut into such pieces, once as they are and once faster or slower.
run --to varied-cuts

# 2. Everything to codes, once.
run --from pieces-tokens --to held-out

# 3. The training, in two parts: words, then sentences, sounds and music. A number is changed by its name:
#    --lm.steps 6000
run --from listening --to listening
run --from lm --to lm

# 4. (If it matters to you: the four patterns of codes side by side, short trainings.)
# python -c "from almtok.recipes.multitask.patterns import main; main()" --tokens "$OUT/pieces-tokens" --held-out "$OUT/held-out" \
#     --test $TEST --codec "$(python -c 'import almtok; print(almtok.shipped() / "codec")')" --out "$OUT"

# 5. What it hears, says and makes, beside what an independent recogniser makes of the recordings.
run --from scores
