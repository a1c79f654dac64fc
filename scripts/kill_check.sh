#!/usr/bin/env bash
# Kills a training again and again, and lets it go on: scripts/kill_check.sh PROGRAM KILLS
# At random moments, in other layouts each time. After every third kill the newest checkpoint is damaged, too: cut
# off, a bit flipped, or a file removed. In the end the weights must be those of a training that never stopped, and
# nothing may lie about.
set -euo pipefail
program=$(realpath "${1:?usage: scripts/kill_check.sh PROGRAM KILLS}")
kills=${2:?usage: scripts/kill_check.sh PROGRAM KILLS}
RANDOM=${STAGECOACH_KILL_SEED:-1138}
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
cd "$work"

fail() {
  echo "kill_check: after $killed kills: $*" >&2
  [[ ! -s errors ]] || cat errors >&2
  exit 1
}

# start OPTION..., in place of this shell; train OPTION... waits for its end: 12 steps of 8 images, of which 2 and a part are an epoch.
start() {
  exec "$program" train --data synthetic --max-train-samples 20 --max-test-samples 4 --image-size 64 --steps 12 \
    --partition uniform --random-crop --random-flip --quiet "$@" >output 2>errors
}
train() {
  (start "$@")
}

layouts=("--stages 0 --micro-batches 1 --micro-batch-size 8" "--stages 2 --micro-batches 4 --micro-batch-size 2"
  "--stages 4 --schedule zb-h1 --micro-batches 8 --micro-batch-size 1"
  "--stages 2 --schedule gpipe --recompute always --micro-batches 2 --micro-batch-size 4"
  "--stages 0 --micro-batches 8 --micro-batch-size 1 --threads 2")

damage_newest() {
  local newest file bytes
  newest=$(find run -maxdepth 1 -name 'step-*' | sort | tail -1)
  [[ -n $newest ]] || return 0
  file=$newest/$(printf '%s\n' weights.safetensors optimizer.safetensors manifest.json | sed -n "$((RANDOM % 3 + 1))p")
  [[ -f $file ]] || return 0
  bytes=$(stat -c %s "$file")
  case $((RANDOM % 3)) in
    0) truncate -s $((bytes * (RANDOM % 100) / 100)) "$file" ;;
    1) printf '\xa5' | dd of="$file" bs=1 seek=$((bytes * (RANDOM % 100) / 100)) conv=notrunc status=none ;;
    2) rm "$file" ;;
  esac
}

killed=0
# shellcheck disable=SC2086  # several words
train ${layouts[0]} --save never.safetensors || fail "the training that never stops failed"
while ((killed < kills)); do
  # shellcheck disable=SC2086
  start ${layouts[RANDOM % ${#layouts[@]}]} --checkpoint-dir run --checkpoint-every 1 --resume &
  child=$!
  sleep "$((RANDOM % 2)).$((RANDOM % 10))"
  kill -KILL "$child" 2>/dev/null || true # it may have ended
  status=0
  wait "$child" 2>/dev/null || status=$?
  killed=$((killed + 1))
  if ((status != 0 && status != 137)); then
    # All that is left may be damaged by this script: a new beginning is what it asks for then.
    grep -q "only damaged ones" errors || fail "exit status $status"
    rm -r run
  fi
  # At its end it begins anew, or there would be nothing more to kill.
  if [[ -d run/step-00000012 ]]; then
    # shellcheck disable=SC2086
    train ${layouts[RANDOM % ${#layouts[@]}]} --checkpoint-dir run --resume --save whole.safetensors ||
      fail "the whole training cannot be read"
    cmp -s never.safetensors whole.safetensors || fail "other weights than those of the training that never stopped"
    rm -r run
  fi
  ((killed % 3 != 0)) || damage_newest
done
[[ -d run ]] || mkdir run
# shellcheck disable=SC2086
train ${layouts[1]} --checkpoint-dir run --resume --save resumed.safetensors || {
  grep -q "only damaged ones" errors || fail "the last training failed"
  rm -r run
  # shellcheck disable=SC2086
  train ${layouts[1]} --checkpoint-dir run --resume --save resumed.safetensors || fail "the last training failed"
}
cmp -s never.safetensors resumed.safetensors || fail "other weights than those of the training that never stopped"
left=$(find run -mindepth 1 -maxdepth 1 ! -name 'step-*')
[[ -z $left ]] || fail "left behind: $left"
echo "kill_check: $killed kills, the weights are those of a training that never stopped"
