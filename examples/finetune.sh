#!/usr/bin/env bash
# Train on a folder of your own clips: examples/finetune.sh CLIPS CAPTIONS QUESTION [OPTIONS OF tvrkit train]
#
# CLIPS is a folder of videos. CAPTIONS is a CSV with the columns path and caption, one line a caption, and, if you
# like, start, end and split. QUESTION is asked of the trained model at the end.
#
#   examples/finetune.sh ./clips captions.csv "a dog surfing" --set train.epochs=5
set -euo pipefail
clips=$1 captions=$2 question=$3
shift 3

tvrkit prepare folder "$clips" --captions "$captions" --name mine
tvrkit train --data mine --out runs/mine "$@"
tvrkit eval runs/mine
tvrkit export runs/mine --out mine-model
tvrkit query "$question" --videos "$clips" --model mine-model --top 5
