#!/usr/bin/env bash
# Ends or freezes one process of a training in several at random moments, start-up and end included, and
# looks whether the others end in time, with one line that names it.
# scripts/peer_check.sh PROGRAM COUNT [SEED]
# DEAD_LIMIT, FROZEN_LIMIT: seconds from the fault to the end of the last of the others.
set -euo pipefail
program=${1:?the program} count=${2:?how many} RANDOM=${3:-1}
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
dead_limit=${DEAD_LIMIT:-2} frozen_limit=${FROZEN_LIMIT:-5}

now() { date +%s.%N; }
later_than() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a > b) }'; }

# PIDs and ranks of the processes that run.
ranks() {
  local pid rank
  for pid in $(pgrep -x "$(basename "$program")" || true); do
    rank=$({ tr '\0' '\n' <"/proc/$pid/environ"; } 2>/dev/null | sed -n 's/^OMPI_COMM_WORLD_RANK=//p') || continue
    [[ -z $rank ]] || grep -q '^State:.*Z' "/proc/$pid/status" 2>/dev/null || echo "$pid $rank"
  done
}

# one_fault KIND RANK PROCESSES DELAY STEPS: what went wrong; nothing: all is well.
one_fault() {
  local kind=$1 rank=$2 processes=$3 delay=$4 steps=$5 pid begin limit=$dead_limit status=0
  timeout 90 mpirun -np "$processes" "$program" train --data synthetic --image-size 64 --stages 2 \
    --micro-batch-size 2 --micro-batches 4 --partition 6 --steps "$steps" --quiet >"$work/out" 2>"$work/err" &
  local job=$!
  sleep "$delay"
  pid=$(ranks | awk -v rank="$rank" '$2 == rank { print $1 }')
  if [[ -z $pid ]] || ! kill -"$kind" "$pid" 2>/dev/null; then  # it had ended, or not begun
    wait "$job" || true
    echo "early" && return
  fi
  begin=$(now)
  [[ $kind == KILL ]] || limit=$frozen_limit
  while [[ -n $(ranks | awk -v rank="$rank" '$2 != rank') ]]; do
    if later_than "$(now)" "$(awk -v a="$begin" -v b="$limit" 'BEGIN { printf "%.3f", a + b + 3 }')"; then break; fi
    sleep 0.05
  done
  local taken
  taken=$(awk -v a="$begin" -v b="$(now)" 'BEGIN { printf "%.3f", b - a }')
  wait "$job" || status=$?
  # A process that ends well before its fault could matter is none.
  if ((status == 0)); then echo "late" && return; fi
  if later_than "$taken" "$limit"; then echo "the others were there for $taken s" && return; fi
  echo "$taken" >>"$work/times.$kind"
  local said
  said=$(grep -c '^stagecoach: error: ' "$work/err" || true)
  # Before the processes know of each other, mpirun's words are all there is.
  if ((said == 0)) && grep -q "process rank $rank with PID .* exited on signal 9" "$work/err" &&
    later_than 1.5 "$delay"; then
    return
  fi
  ((said == 1)) || { echo "$said lines instead of one: $(grep stagecoach: "$work/err" | head -3)" && return; }
  grep -q "got process $rank on .*it was last" "$work/err" || echo "another cause: $(grep stagecoach: "$work/err")"
}

faults=0 skipped=0
while ((faults < count)); do
  kind=KILL
  ((RANDOM % 3 > 0)) || kind=STOP
  processes=$((RANDOM % 2 ? 2 : 4))
  rank=$((RANDOM % processes))
  delay=$((RANDOM % 4)).$((RANDOM % 10))
  [[ $kind == KILL ]] || delay=$((${delay%.*} + 2)).${delay#*.}  # who freezes before that holds up the start
  steps=$((RANDOM % 4 ? 100000 : 5 + RANDOM % 20))
  wrong=$(one_fault "$kind" "$rank" "$processes" "$delay" "$steps")
  case $wrong in
    early | late) skipped=$((skipped + 1)) && continue ;;
    "") ;;
    *) echo "SIG$kind to process $rank of $processes after $delay s: $wrong" >&2 && exit 1 ;;
  esac
  faults=$((faults + 1))
done
longest() { if [[ -s $work/times.$1 ]]; then sort -g "$work/times.$1" | tail -1; else echo none; fi; }
echo "$faults faults ($skipped more were too early or too late to be one): in each the others ended in time and one" \
  "line named the process and what it did; at most $(longest KILL) s after SIGKILL, $(longest STOP) s after SIGSTOP"
