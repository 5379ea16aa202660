#!/usr/bin/env bash
# The mini recipe: from nothing to a codec that speaks, on a laptop. Each line can be run alone and goes on
# where it was stopped. `almtok demo` runs them all.
set -euo pipefail
OUT=${OUT:-runs/demo}

# 1. A corpus: spoken phrases, sound events and short tunes, made by programs.
almtok run mini --out "$OUT" --to corpus

# 2. The semantic prior: cluster centres of spectra, half from speech, half from sounds and music. They
#    become the first codebook and are never trained.
almtok run mini --out "$OUT" --from prior --to prior

# 3. Stage 1: waveform to frames (75 per second) and back; no codes yet.
almtok run mini --out "$OUT" --from stage1 --to stage1

# 4. Stage 2: six frames to one query, each query to three codes: 37.5 tokens per second.
almtok run mini --out "$OUT" --from stage2 --to codec

# 5. Held-out clips, there and back: players, spectrograms, the codes, a table of scores.
almtok run mini --out "$OUT" --from report
