#!/usr/bin/env bash
# One small language model for speech, sound and music, on codes of a trained codec: about an hour on two CPU cores.
# Each line can be run alone and goes on where it was stopped. Say where the audio is, as sources of almtok
# (docs/data.md), by words of the shell; speech, sounds and music need texts:
#   TRAIN="speech=voices/ sound=noises/ music=tunes/" VALID="..." TEST="..." recipes/multitask/run.sh
set -euo pipefail
: "${TRAIN:?sources to train on}" "${VALID:?held-out sources}" "${TEST:?sources to judge on}"
OUT=${OUT:-runs/multitask}
# The codec that comes with almtok, or a folder such as runs/codec/adapt/model.
CODEC=${CODEC:-$(python -c 'import almtok; print(almtok.shipped() / "codec")')}

# 1. The texts of the corpus, read by a synthesiser, whole and in pieces of a few words: alignment and spelling
#    cost no recordings.
python -c "from almtok.recipes.multitask.readings import main; main()" $TRAIN --count 6000 --out "$OUT/readings"
python -c "from almtok.recipes.multitask.readings import main; main()" $TRAIN --count 8000 --words 4 --out "$OUT/pieces"

# 2. Everything to codes, once.
almtok tokenize "speech=$OUT/pieces" --checkpoint "$CODEC" --loudness -20 --out "$OUT/pieces-tokens"
almtok tokenize $TRAIN "speech=$OUT/readings" --checkpoint "$CODEC" --loudness -20 --out "$OUT/tokens"
almtok tokenize $VALID --checkpoint "$CODEC" --loudness -20 --out "$OUT/held-out"

# 3. The configurations of recipe.py as JSON: the place to change a number. Then the training, in two parts: words, then
#    sentences, sounds and music.
python -c 'import sys; from almtok.recipes.multitask import recipe
out, codec = sys.argv[1:]
pieces, tokens = [out + "/pieces-tokens"], [out + "/tokens", out + "/pieces-tokens"]
recipe.write(out, pieces, tokens, [out + "/held-out"], codec)' "$OUT" "$CODEC"
almtok train lm --config "$OUT/listening.json"
almtok train lm --config "$OUT/lm.json"

# 4. (If it matters to you: the four patterns of codes side by side, short trainings.)
# python -c "from almtok.recipes.multitask.patterns import main; main()" --tokens "$OUT/pieces-tokens" --held-out "$OUT/held-out" \
#     --test $TEST --codec "$CODEC" --out "$OUT"

# 5. What it hears, says and makes, beside what an independent recogniser makes of the recordings.
almtok evaluate lm --checkpoint "$OUT/lm" --data $TEST --voices --html --out "$OUT/scores"
