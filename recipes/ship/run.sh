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
all_stages=(corpora prior codec tokens lm evaluation card)
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
: "${PRIOR_OPTIONS:=}"
: "${CODEC_PRESET:=mini}" "${STAGE1_STEPS:=600}" "${STAGE2_STEPS:=3000}" "${ADAPT_STEPS:=0}"
: "${CODEC_OPTIONS:=}" "${STAGE1_OPTIONS:=}" "${STAGE2_OPTIONS:=}" "${ADAPT_OPTIONS:=}"
lm_fields='{"ctc_weight": 0.3, "text_weight": 2.0, "bidirectional_conditions": true, "supports_cloning": false}'
: "${LM_PRESET:=mini}" "${LM_MODEL:=$lm_fields}"
: "${LM_STEPS:=20000}" "${LM_TASKS:=tts=3 asr=2.5 text_to_audio=3 text_to_music=1.5 audio_caption music_caption}"
: "${LM_OPTIONS:=--text-form phones --batch-positions 3072 --lr 2e-3 --muon-lr 5e-3 --input-noise 0.15 --input-noise-span 4 --max-seconds 12}"
: "${LIMIT:=1000}" # test clips of each domain
: "${EVALUATION_OPTIONS:=}"
if [[ -n $tiny ]]; then
  SENTENCES=0 TEXT_HOURS=0.02 MIXTURES=0 CODEC_PRESET=tiny STAGE1_STEPS=2 STAGE2_STEPS=2 ADAPT_STEPS=0
  LM_PRESET=tiny LM_STEPS=2 LIMIT=1 RECOGNIZER=none
  PRIOR_OPTIONS="--codebook-size 256 $PRIOR_OPTIONS"
  CODEC_OPTIONS="--batch-size 2 --segment-seconds 1 --validation-clips 1 $CODEC_OPTIONS"
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
prior() {
  al codec prior --data $(sources train) --seed "$SEED" $PRIOR_OPTIONS --out "$out/prior.safetensors"
}

# shellcheck disable=SC2046,SC2086
codec() {
  local how=(--preset "$CODEC_PRESET" --seed "$SEED") last=stage2
  al codec train --stage 1 --data $(sources train) --validation-data $(sources validation) "${how[@]}" \
    --steps "$STAGE1_STEPS" $CODEC_OPTIONS $STAGE1_OPTIONS --out "$out/stage1"
  al codec train --stage 2 --data $(sources train) --validation-data $(sources validation) "${how[@]}" \
    --init-from "$out/stage1" --prior "$out/prior.safetensors" --steps "$STAGE2_STEPS" \
    $CODEC_OPTIONS $STAGE2_OPTIONS --out "$out/stage2"
  if (( ADAPT_STEPS > 0 )); then
    last=adapted
    al codec train --stage adapt --data $(sources train) --validation-data $(sources validation) \
      --init-from "$out/stage2" --steps "$ADAPT_STEPS" --seed "$SEED" $CODEC_OPTIONS $ADAPT_OPTIONS --out "$out/adapted"
  fi
  # The language model learns the codes of the rounded codec, which is the one that is published.
  py 'from almtok.recipes.publish import main; main()' --codec "$out/$last/model" --out "$out/model"
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
    --command "recipes/ship/run.sh, seed $SEED, $STAGE1_STEPS, $STAGE2_STEPS, $ADAPT_STEPS and $LM_STEPS steps"
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
