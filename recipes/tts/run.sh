#!/usr/bin/env bash
# The recipe, stage by stage; each line can be run alone and goes on where it was stopped. Options of the recipe follow
# the script: recipes/tts/run.sh --backbone Qwen/Qwen3-0.6B (almtok run tts --help).
set -euo pipefail

almtok run tts "$@" --dry-run           # what will be done
almtok run tts "$@" --to held-out       # everything to codes, once
almtok run tts "$@" --from lm --to lm   # the training
almtok run tts "$@" --from scores       # what it makes of recordings and texts that it has not seen
