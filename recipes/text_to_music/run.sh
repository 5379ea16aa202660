#!/usr/bin/env bash
# The recipe, stage by stage; each line can be run alone and goes on where it was stopped. Options of the recipe follow
# the script: recipes/text_to_music/run.sh --backbone Qwen/Qwen3-0.6B (almtok run text_to_music --help).
set -euo pipefail

almtok run text_to_music "$@" --dry-run           # what will be done
almtok run text_to_music "$@" --to held-out       # everything to codes, once
almtok run text_to_music "$@" --from lm --to lm   # the training
almtok run text_to_music "$@" --from scores       # what it makes of recordings and texts that it has not seen
