#!/usr/bin/env bash
# The mini recipe: from nothing to a codec and a language model that speaks, on a laptop. Each line can be run
# alone and goes on where it was stopped. `almtok demo` runs them all.
set -euo pipefail
OUT=${OUT:-runs/demo}

# 0. The models that come with almtok say something: OUT/hello.wav.
almtok run mini --out "$OUT" --to hello

# 1. A corpus: spoken phrases, sound events and short tunes, made by programs.
almtok run mini --out "$OUT" --from corpus --to corpus

# 2. The semantic prior: cluster centres of spectra, half from speech, half from sounds and music. They
#    become the first codebook and are never trained.
almtok run mini --out "$OUT" --from prior --to prior

# 3. Stage 1: waveform to frames (75 per second) and back; no codes yet.
almtok run mini --out "$OUT" --from stage1 --to stage1

# 4. Stage 2: six frames to one query, each query to three codes: 37.5 tokens per second.
almtok run mini --out "$OUT" --from stage2 --to codec

# 5. Held-out clips, there and back, beside the codec that comes with almtok.
almtok run mini --out "$OUT" --from there-and-back --to there-and-back

# 6. Lessons for a language model: words, then sentences, of one voice; sounds; tunes. All to codes, by the
#    codec that comes with almtok.
almtok run mini --out "$OUT" --from lessons --to tokens

# 7. One language model for six tasks on these codes.
almtok run mini --out "$OUT" --from lm --to lm

# 8. What it hears, says and makes of clips that it has not seen.
almtok run mini --out "$OUT" --from scores --to scores

# 9. LoRA to a voice that it has not heard.
almtok run mini --out "$OUT" --from voice --to adapter

# 10. One page with players.
almtok run mini --out "$OUT" --from judged
