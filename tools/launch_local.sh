#!/usr/bin/env bash
# Trains with N processes on this machine, joined on loopback like N hosts.
#
#   tools/launch_local.sh N --gin_file=gin_configs/runs/online.gin \
#     --gin_file=gin_configs/runs/parts/mesh.gin [flags of `rlhf-gap train`]
#
#   DEVICES=4   virtual CPU devices of each process (default: 1)
#   PORT=8476   where process 0 listens (default: a free port)
#
# Ctrl-C or SIGTERM saves a checkpoint and stops; a second one kills. The exit
# code is that of the first process that failed.
set -u
count=${1:-}
if [[ ! $count =~ ^[1-9][0-9]*$ ]]; then
  echo "N=$count; expected how many processes, 1 or more;" \
    "usage: tools/launch_local.sh N [flags of rlhf-gap train]" >&2
  exit 2
fi
shift
bin="$(cd "$(dirname "$0")/.." && pwd)/.venv/bin"
port=${PORT:-$("$bin/python" -c \
  'import socket; s = socket.create_server(("", 0)); print(s.getsockname()[1])')}
export JAX_PLATFORMS=cpu
export XLA_FLAGS="${XLA_FLAGS:-} --xla_force_host_platform_device_count=${DEVICES:-1}"

children=()
stop() {
  trap 'kill -KILL "${children[@]}" 2>/dev/null' INT TERM
  kill -TERM "${children[@]}" 2>/dev/null
}
trap stop INT TERM

for ((number = 0; number < count; number++)); do
  "$bin/rlhf-gap" train "$@" --coordinator="127.0.0.1:$port" \
    --num_processes="$count" --process_id="$number" &
  children+=("$!")
done

status=0
for child in "${children[@]}"; do
  # A trapped signal interrupts `wait` while the child goes on.
  while wait "$child"; code=$?; kill -0 "$child" 2>/dev/null; do :; done
  ((status == 0)) && status=$code
done
exit "$status"
