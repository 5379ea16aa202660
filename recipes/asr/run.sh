#!/usr/bin/env bash
# The recipe, stage by stage; each line can be run alone and goes on where it was stopped. Options of the recipe follow
# the script: recipes/asr/run.sh --backbone Qwen/Qwen3-0.6B (almtok run asr --help).
set -euo pipefail

almtok run asr "$@" --dry-run           # what will be done
almtok run asr "$@" --to held-out       # everything to codes, once
almtok run asr "$@" --from lm --to lm   # the training
almtok run asr "$@" --from scores       # what it makes of recordings and texts that it has not seen
