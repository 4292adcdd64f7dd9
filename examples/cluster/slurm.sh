#!/bin/bash
# Train on Slurm, one task a GPU, and again until the run is finished however short the job's time is.
#
#   sbatch slurm.sh --preset msrvtt-b32
#   sbatch --nodes=4 --export=ALL,RUN=runs/mine slurm.sh --preset msrvtt-b16 --set train.seed=1
#
# Data set, run and caches must be on storage that all nodes share (docs/cluster.md).
#SBATCH --job-name=tvrkit
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --time=04:00:00
#SBATCH --signal=B:USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append

# A job keeps its number when it is queued again, so it finds its run; a first checkpoint that was cut off is none.
run=${RUN:-runs/slurm-$SLURM_JOB_ID}
if ls -A "$run/checkpoints" 2>/dev/null | grep -qv '\.tmp$'; then
    set -- --resume "$run" ${GPUS:+--gpus "$GPUS"}
else
    set -- --out "$run" ${GPUS:+--gpus "$GPUS"} "$@"
fi

export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1} # srun does not take it from sbatch by itself
srun --kill-on-bad-exit=1 tvrkit train "$@" &
task=$!

# Two minutes before the time is up: srun hands the signal on, the run saves after the step under way and ends with 0.
asked=
trap 'asked=yes; kill -USR1 "$task"' USR1
wait "$task"
code=$?
while [ "$code" -gt 128 ] && kill -0 "$task" 2>/dev/null; do # the trap ended that wait, not srun
    wait "$task"
    code=$?
done

if [ -n "$asked" ] && [ "$code" -eq 0 ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
