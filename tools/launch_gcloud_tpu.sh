#!/usr/bin/env bash
# Trains on every host of a Cloud TPU slice that exists. From the checkout:
#
#   tools/launch_gcloud_tpu.sh SLICE ZONE --gin_file=gin_configs/runs/online.gin \
#     --gin_file=gin_configs/runs/parts/large_pod.gin [flags of `rlhf-gap train`]
#
# Needs the key of gcloud in ssh-agent (ssh-add ~/.ssh/google_compute_engine).
# Copies HEAD to ~/rlhf_gap of every host, installs it there with libtpu, starts
# the command on all hosts and follows their logs (~/rlhf_gap/train.log). The
# run outlives this script: Ctrl-C only stops following the logs. Rerun the same
# command to resume a run. To save and stop:
#
#   gcloud compute tpus tpu-vm ssh SLICE --zone=ZONE --worker=all \
#     --command='kill -TERM $(cat rlhf_gap/train.pid)'
set -euo pipefail
slice=${1:?usage: tools/launch_gcloud_tpu.sh SLICE ZONE [flags of rlhf-gap train]}
zone=${2:?usage: tools/launch_gcloud_tpu.sh SLICE ZONE [flags of rlhf-gap train]}
shift 2
cd "$(dirname "$0")/.."

on_all_hosts() {
  gcloud compute tpus tpu-vm ssh "$slice" --zone="$zone" --worker=all \
    --command="$1"
}

# Replacing the sources of a running job would mix old and new code.
on_all_hosts 'if [ -f rlhf_gap/train.pid ] &&
  kill -0 "$(cat rlhf_gap/train.pid)" 2>/dev/null; then
  echo "a run is in progress (rlhf_gap/train.pid); stop it first" >&2
  exit 2
fi'

archive=$(mktemp --suffix=.tar.gz)
trap 'rm -f "$archive"' EXIT
git archive --format=tar.gz --output="$archive" HEAD
gcloud compute tpus tpu-vm scp "$archive" "$slice":rlhf_gap.tar.gz \
  --zone="$zone" --worker=all

# The TPU images of Ubuntu 22.04 have Python 3.10.
on_all_hosts 'set -e
mkdir -p rlhf_gap && tar --extract --file=rlhf_gap.tar.gz --directory=rlhf_gap
cd rlhf_gap
if [ ! -x .venv/bin/python ]; then
  sudo apt-get -qq update && sudo apt-get -qq install -y python3.11-venv
  python3.11 -m venv .venv
fi
.venv/bin/pip install --quiet --requirement requirements.lock
.venv/bin/pip install --quiet --editable ".[data,tpu]"'

# shellcheck disable=SC2016  # $! and $(cat) are the hosts'
on_all_hosts "cd rlhf_gap && touch train.log
nohup .venv/bin/rlhf-gap train $(printf '%q ' "$@") >>train.log 2>&1 </dev/null &
"'echo $! >train.pid; tail --pid=$! --lines=20 --follow train.log'
