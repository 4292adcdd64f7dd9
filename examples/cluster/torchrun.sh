#!/bin/bash
# Train on several machines without a scheduler: the same line on each of them, at about the same time.
#
#   HEAD=gpu01 NODES=2 ./torchrun.sh --out runs/mine --preset msrvtt-b32
#
# HEAD is the name of one of them that all can reach at PORT. Data set, run and caches must be on storage that they share
# (docs/cluster.md). PROCESSES is how many on each machine: one a GPU, or a number with `--gpus 0` for the CPU.
set -eu
exec torchrun \
    --nnodes "${NODES:?how many machines}" \
    --nproc-per-node "${PROCESSES:-gpu}" \
    --rdzv-backend c10d \
    --rdzv-endpoint "${HEAD:?a machine that all can reach}:${PORT:-29400}" \
    --rdzv-id "${RUN_ID:-tvrkit}" \
    -m tvrkit train "$@"
