#!/usr/bin/env bash
# The recipe, stage by stage; each line can be run alone and goes on where it was stopped. Options of the recipe follow
# the script: recipes/captioning/run.sh --backbone Qwen/Qwen3-0.6B (almtok run captioning --help).
set -euo pipefail

almtok run captioning "$@" --dry-run           # what will be done
almtok run captioning "$@" --to held-out       # everything to codes, once
almtok run captioning "$@" --from lm --to lm   # the training
almtok run captioning "$@" --from scores       # what it makes of recordings and texts that it has not seen
