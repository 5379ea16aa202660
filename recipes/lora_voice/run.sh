#!/usr/bin/env bash
# A new voice for a trained language model, from recordings with texts: minutes on two CPU cores. Each line can be run
# alone and goes on where it was stopped; `almtok run lora_voice` with the same options runs them all. VOICE and OTHER
# are sources of almtok (docs/data.md):
#   VOICE=speech=me/ OTHER=speech=me-later/ recipes/lora_voice/run.sh
# BASE is another language model than the one that comes with almtok, such as runs/multitask/lm.
set -euo pipefail
: "${VOICE:?recordings with texts}"
run() {
    almtok run lora_voice ${BASE:+--base "$BASE"} --voice $VOICE --other ${OTHER:-$VOICE} --out "${OUT:-runs/voice}" "$@"
}

# 1. Recordings to codes, at the level that the base was trained at.
run --to held-out

# 2. The adapter. A number is changed by its name: --adapter.steps 200
run --from adapter --to adapter

# 3. Hear it: the same sentence before and after.
run --from before
