#!/usr/bin/env bash
# From corpora and judges to a codec and a language model with a card, in stages (README.md):
#   run.sh [--dry-run] [--tiny] DATA_DIR MODELS_DIR OUT [STAGE ...]
# The same command goes on where it stopped; OUT/done/STAGE marks a finished stage.
set -euo pipefail

dry_run= tiny=
while [[ "${1:-}" == --* ]]; do
  case "$1" in
    --dry-run) dry_run=1 ;;
    --tiny) tiny=1 ;;
    *) echo "run.sh: unknown option $1" >&2; exit 2 ;;
  esac
  shift
done
if (( $# < 3 )); then
  echo "usage: run.sh [--dry-run] [--tiny] DATA_DIR MODELS_DIR OUT [STAGE ...]" >&2
  exit 2
fi
data=$1 models=$2 out=$3
shift 3
all_stages=(corpora codec tokens lm evaluation card)
stages=("${@:-${all_stages[@]}}")

# ---------------------------------------------------------------- settings, from the environment
: "${PYTHON:=python3}" "${NICE:=5}" "${SEED:=0}"
: "${SPEECH:=speech_lj speech_kathleen speech_so762}" # folders of DATA_DIR with train, validation, test
: "${UNHEARD:=speech_vctk}"                           # speech of the test only
: "${SYNTHESIZER:=$models/kokoro}" "${MIXTURES:=180}" # mixtures of voices, beside the voices themselves
: "${SENTENCES:=60000}"                               # of a grammar, beside the texts of SPEECH
: "${TEXT_HOURS:=5}" "${SENTENCE_HOURS:=7}"           # in all voices
: "${VOICE_HOURS:=8}"                                 # of sentences in the voices of the model
: "${VOICES:=af_heart am_michael bf_emma bm_george}"  # of the model, by name; the first is the default
: "${RECOGNIZER:=$models/whisper-base}" "${SPEAKER_ENCODER:=none}" "${MOS:=}"
# Options of the stages, as words:
: "${SYNTHESIS_OPTIONS:=}"
: "${CODEC_OPTIONS:=--words}" # of 'almtok run codec'; '--stage2.steps 6000' and the like change a stage
lm_fields='{"ctc_weight": 0.3, "text_weight": 2.0, "bidirectional_conditions": true, "supports_cloning": false}'
: "${LM_PRESET:=mini}" "${LM_MODEL:=$lm_fields}"
: "${LM_STEPS:=20000}" "${LM_TASKS:=tts=3 asr=2.5 text_to_audio=3 text_to_music=1.5 audio_caption music_caption}"
: "${LM_OPTIONS:=--text-form phones --batch-positions 3072 --lr 2e-3 --muon-lr 5e-3 --input-noise 0.15 --input-noise-span 4 --max-seconds 12}"
: "${LIMIT:=1000}" # test clips of each domain
: "${EVALUATION_OPTIONS:=}"
if [[ -n $tiny ]]; then
  SENTENCES=0 TEXT_HOURS=0.02 MIXTURES=0 LM_PRESET=tiny LM_STEPS=2 LIMIT=1 RECOGNIZER=none CODEC_OPTIONS=
  for part in stage1 stage2 adapt; do
    CODEC_OPTIONS+=" --$part.steps 2 --$part.batch-size 2 --$part.segment-seconds 1 --$part.validation-clips 1"
  done
  LM_OPTIONS="--batch-positions 1024 --max-seconds 12 --samples 0 --validation-items 1"
fi

# ---------------------------------------------------------------- running commands
plan=$(mktemp)
trap 'rm -f "$plan"' EXIT

# Run a command of almtok; in a dry run, print it and keep it for the check of its options.
al() {
  if [[ -n $dry_run ]]; then
    printf '%q ' almtok "$@"; echo
    { printf '%s\0' "$@"; printf '\n\0'; } >> "$plan"
  else
    nice -n "$NICE" "$PYTHON" -m almtok "$@"
  fi
}

py() {
  if [[ -n $dry_run ]]; then
    printf '%q ' "$PYTHON" -c "$@"; echo
  else
    nice -n "$NICE" "$PYTHON" -c "$@"
  fi
}

# Sources of a split; train also has the synthesized corpora.
sources() { # SPLIT [DOMAIN_OF_RECORDINGS]
  local split=$1 domain=${2:-speech} folder
  for folder in $SPEECH; do echo "$domain=$data/$folder:$split"; done
  if [[ $split == train ]]; then readings; fi
  if [[ $split == test ]]; then for folder in $UNHEARD; do echo "speech=$data/$folder:test"; done; fi
  echo "sound=$data/sound:$split" "music=$data/music:$split"
}

readings() {
  echo "speech=$out/read-texts/manifest.jsonl"
  if (( SENTENCES > 0 )); then
    echo "speech=$out/read-sentences/manifest.jsonl" "speech=$out/read-voices/manifest.jsonl"
  fi
}

# ---------------------------------------------------------------- stages
corpora() {
  local tests=() trains=() folder
  for folder in $SPEECH $UNHEARD; do tests+=("speech=$data/$folder:test"); done
  for folder in $SPEECH; do trains+=("speech=$data/$folder:train"); done
  local how=(--exclude "${tests[@]}" --model "$SYNTHESIZER" --format opus) many=() names
  read -ra names <<< "$VOICES"
  if (( MIXTURES > 0 )); then many+=(--mixtures "$MIXTURES"); fi
  # shellcheck disable=SC2086
  al synthesize "${trains[@]}" "${how[@]}" "${many[@]}" --hours "$TEXT_HOURS" --seed "$SEED" \
    $SYNTHESIS_OPTIONS --out "$out/read-texts"
  if (( SENTENCES > 0 )); then
    # shellcheck disable=SC2086
    al synthesize --sentences "$SENTENCES" "${how[@]}" "${many[@]}" --hours "$SENTENCE_HOURS" --seed "$SEED" \
      $SYNTHESIS_OPTIONS --out "$out/read-sentences"
    # shellcheck disable=SC2086
    al synthesize --sentences "$SENTENCES" "${how[@]}" --voices "${names[@]}" --hours "$VOICE_HOURS" --seed $((SEED + 1)) \
      $SYNTHESIS_OPTIONS --out "$out/read-voices"
  fi
}

# shellcheck disable=SC2046,SC2086
codec() {
  al run codec --train $(sources train) --valid $(sources validation) --test $(sources test) \
    $CODEC_OPTIONS --to sharper --out "$out/codec"
  # The language model learns the codes of the rounded codec, which is the one that is published.
  py 'from almtok.recipes.publish import main; main()' --codec "$out/codec/codec" --out "$out/model"
}

# shellcheck disable=SC2046
tokens() {
  local how=(--checkpoint "$out/model/codec" --loudness -20)
  # Speech of people is for listening only: voices of the model are those of the synthesizer.
  al lm tokenize $(sources train listening) "${how[@]}" --out "$out/tokens"
  al lm tokenize $(sources validation) "${how[@]}" --out "$out/held-out"
}

# shellcheck disable=SC2086
lm() {
  al lm train --preset "$LM_PRESET" --model "$LM_MODEL" --data "$out/tokens" --validation-data "$out/held-out" \
    --codec "$out/model/codec" --tasks $LM_TASKS --speakers $VOICES --steps "$LM_STEPS" --seed "$SEED" \
    $LM_OPTIONS --out "$out/lm"
  py 'from almtok.recipes.publish import main; main()' --lm "$out/lm" --out "$out/model"
}

# shellcheck disable=SC2046,SC2086
evaluation() {
  local judges=(--recognizer "$RECOGNIZER" --speaker-encoder "$SPEAKER_ENCODER")
  if [[ -n $MOS ]]; then judges+=(--mos $MOS); fi
  al codec evaluate --checkpoint "$out/model/codec" --data $(sources test) --limit "$LIMIT" "${judges[@]}" --out "$out/scores/codec"
  al lm evaluate --checkpoint "$out/model" --data $(sources test) --limit "$LIMIT" "${judges[@]}" \
    --seen-texts "$out/tokens" --html $EVALUATION_OPTIONS --out "$out/scores/lm"
}

card() {
  py 'from almtok.recipes.publish import card; card()' --model "$out/model" --scores "$out/scores" \
    --command "recipes/ship/run.sh, seed $SEED, codec: '$CODEC_OPTIONS', language model: $LM_STEPS steps '$LM_OPTIONS'"
}

# ---------------------------------------------------------------- the run
for stage in "${stages[@]}"; do
  if [[ " ${all_stages[*]} " != *" $stage "* ]]; then
    echo "run.sh: stage must be one of ${all_stages[*]}, got $stage" >&2
    exit 2
  fi
done
if [[ -z $dry_run ]]; then mkdir -p "$out/done"; fi
for stage in "${stages[@]}"; do
  if [[ -z $dry_run && -e $out/done/$stage ]]; then
    echo "run.sh: $stage is done"
    continue
  fi
  echo "# $stage"
  start=$SECONDS
  "$stage"
  if [[ -z $dry_run ]]; then echo "$((SECONDS - start)) s" > "$out/done/$stage"; fi
done
if [[ -n $dry_run ]]; then
  "$PYTHON" -c 'from almtok.recipes.publish import check_commands; check_commands()' "$plan"
fi
