#!/usr/bin/env bash
# A study, stage by stage; the same command goes on where it was stopped. Options of the recipe follow the script:
#   recipes/studies/run.sh --train speech=voices/ --valid speech=more/ --test speech=other/ --study ablations
set -euo pipefail

almtok run studies "$@" --dry-run       # what will be done
almtok run studies "$@" --to stage1     # what all variants begin from
almtok run studies "$@"                 # the variants, and the table
