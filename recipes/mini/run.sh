#!/usr/bin/env bash
# The mini recipe: from nothing to a codec that speaks, on a laptop. Each line can be run alone and goes
# on where it was stopped. `almtok demo` runs the same lines.
set -euo pipefail
OUT=${OUT:-runs/demo}

# 1. A corpus: spoken phrases, sound events and short tunes, made by programs. And the training
#    configurations of recipe.py, written as JSON to be looked at and changed.
almtok demo --out "$OUT" --only corpus configs

# 2. The semantic prior: cluster centres of spectra, half from speech, half from sounds and music. They
#    become the first codebook and are never trained.
almtok prior --out "$OUT/prior.safetensors" --codebook-size 256 --spectral-width 128 \
    --teacher-speech spectral --teacher-sound spectral \
    --data "$OUT/corpus/manifest.jsonl:train"

# 3. Stage 1: waveform to frames (75 per second) and back; no codes yet.
almtok train codec --config "$OUT/stage1.json"

# 4. Stage 2: six frames to one query, each query to three codes: 37.5 tokens per second.
almtok train codec --config "$OUT/stage2.json"
almtok demo --out "$OUT" --only codec

# 5. Held-out clips, there and back: players, spectrograms, the codes, a table of scores.
almtok evaluate codec --checkpoint "$OUT/codec" --limit 12 --report --out "$OUT" \
    --data "$OUT/corpus/manifest.jsonl:test"
