#!/usr/bin/env bash
# A new voice for a trained language model, from recordings with texts: minutes on two CPU cores.
# Each line can be run alone and goes on where it was stopped. VOICE and OTHER are sources of almtok (docs/data.md):
#   BASE=runs/multitask/lm VOICE=speech=me/ OTHER=speech=me-later/ recipes/lora_voice/run.sh
set -euo pipefail
: "${BASE:?run folder or saved model of a language model with its codec}" "${VOICE:?recordings with texts}"
OUT=${OUT:-runs/voice}
OTHER=${OTHER:-$VOICE}
CODEC=${CODEC:-$BASE/model/codec}

# 1. Recordings to codes, at the level that the base was trained at.
almtok tokenize $VOICE --checkpoint "$CODEC" --loudness "${LOUDNESS:--20}" --out "$OUT/tokens"
almtok tokenize $OTHER --checkpoint "$CODEC" --loudness "${LOUDNESS:--20}" --out "$OUT/held-out"

# 2. The configuration of recipe.py as JSON: the place to change a number. Then the training.
python -c 'import sys; from almtok.recipes.lora_voice import recipe
recipe.write(sys.argv[1], [sys.argv[1] + "/tokens"], [sys.argv[1] + "/held-out"], sys.argv[2])' "$OUT" "$BASE"
almtok finetune --config "$OUT/voice.json"

# 3. Hear it: the same sentence before and after.
almtok tts "Not at this particular case, Tom." --checkpoint "$BASE" --out "$OUT/before.wav"
almtok tts "Not at this particular case, Tom." --checkpoint "$BASE" --adapter "$OUT/adapter-run" --out "$OUT/after.wav"
