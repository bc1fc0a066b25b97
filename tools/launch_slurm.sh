#!/usr/bin/env bash
#SBATCH --job-name=rlhf-gap
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@300
#SBATCH --requeue
#SBATCH --open-mode=append
# Trains on a SLURM cluster with one task per GPU. Run it from the checkout, with
# .venv and MODEL_DIR on storage that all nodes share:
#
#   sbatch --nodes=4 tools/launch_slurm.sh --gin_file=gin_configs/runs/online.gin \
#     --gin_file=gin_configs/runs/parts/mesh.gin [flags of `rlhf-gap train`]
#
# Processes find each other through SLURM's variables; no flags are needed. Five
# minutes before the time limit every task gets a SIGTERM, saves and stops:
# submit the same line again to resume. After a node failure the run is requeued.
set -u
cd "${SLURM_SUBMIT_DIR:?submit it: sbatch tools/launch_slurm.sh [flags]}"

srun --kill-on-bad-exit=0 .venv/bin/rlhf-gap train "$@"
code=$?
# 3: a task died or hung and the others noticed; 137, 134: killed, aborted.
case $code in
  3 | 134 | 137) scontrol requeue "$SLURM_JOB_ID" ;;
esac
exit "$code"
