#!/usr/bin/env bash
# What takes too long for .ci/run, before an issue is closed: scripts/long_checks.sh [--record FILE] [PART...]
#   tidy      clang-tidy over all sources (CI: core, comm and pipeline)
#   bits      AlexNet at 64x64, 3 steps of 32 images with dropout: the same weights for each number of stages
#             in 0, 1, 2, 4, every schedule, 1 and 2 threads, five cuts of the batch and each instruction set
#   accuracy  AlexNet on CIFAR-10 at 64x64 with direct convolutions and with Winograd's: the same test
#             accuracy, within noise. STAGECOACH_LONG_STEPS: how many steps of 64 images (default 780, an epoch)
#   kills     a training that is killed 300 times at random moments, and its checkpoints damaged, ends with the
#             weights of one that never stopped
#   peers     one process of several that train is killed or frozen 200 times at random moments: the others
#             end in time, with one line that names it
# All parts without names. Needs a release build (scripts/build.sh). --record writes what it saw as Markdown.
set -euo pipefail
root=$(cd -P "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
steps=${STAGECOACH_LONG_STEPS:-780}
record=
parts=()
while (($# > 0)); do
  case $1 in
    --record) record=${2:?long_checks: --record needs a file} && shift ;;
    -h | --help) sed -n '2,12s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" && exit 0 ;;
    tidy | bits | accuracy | kills | peers) parts+=("$1") ;;
    *) echo "usage: scripts/long_checks.sh [--record FILE] [tidy] [bits] [accuracy] [kills] [peers]" >&2 && exit 2 ;;
  esac
  shift
done
((${#parts[@]} > 0)) || parts=(tidy bits accuracy kills peers)

work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
program=build/release/stagecoach
[[ -x $program ]] || scripts/build.sh release stagecoach

# accuracy HOW: "HOW, loss, accuracy" of a training.
accuracy() {
  "$program" train --image-size 64 --stages 0 --optimizer adam --learning-rate 0.0001 --steps "$steps" \
    --eval-every "$steps" --convolution "$1" --report "$work/$1.json" >"$work/$1.txt"
  grep -E '^(loss|accuracy)' "$work/$1.txt" | sed "s/^/  $1: /"
}

tidy() {
  echo "clang-tidy: $(scripts/tidy_check.sh 2>"$work/tidy" || { cat "$work/tidy" >&2; false; })"
}

# one_run OPTION...: the weights' checksum after three steps; "-" where the schedule cannot be.
one_run() {
  local status=0
  "$program" train --data synthetic --image-size 64 --optimizer sgd --steps 3 --save "$work/weights" "$@" \
    >/dev/null 2>"$work/errors" || status=$?
  ((status != 2)) || { echo - && return; }
  ((status == 0)) || { cat "$work/errors" >&2 && return 1; }
  sha256sum <"$work/weights" | cut -c1-16
}

bits() {
  local sets set cut stages schedule threads sum first='' runs=0 not_possible=0
  sets=$("$program" info | sed -n 's/^instructions .* of \(.*\) (STAGECOACH_SIMD.*/\1/p' | tr -d ,)
  for set in $sets; do
    export STAGECOACH_SIMD=$set
    for cut in "1 32" "4 8" "8 4" "16 2" "32 1"; do
      for stages in 0 1 2 4; do
        for schedule in naive gpipe 1f1b interleaved zb-h1 zb-v dualpipe-v; do
          ((stages > 0)) || [[ $schedule == naive ]] || continue
          for threads in 1 2; do
            sum=$(one_run --micro-batches "${cut% *}" --micro-batch-size "${cut#* }" --stages "$stages" \
              --partition parameters --threads "$threads" --schedule "$schedule")
            [[ $sum != - ]] || { not_possible=$((not_possible + 1)) && continue; }
            first=${first:-$sum}
            runs=$((runs + 1))
            [[ $sum == "$first" ]] || { echo "other bits ($sum, not $first): $set, $cut, K = $stages," \
              "$schedule, $threads threads" && return 1; }
          done
        done
      done
    done
  done
  unset STAGECOACH_SIMD
  echo "Bits: $runs trainings ($sets) gave the same weights, sha256 $first...; $not_possible more cannot be," \
    "as their schedules want other numbers of micro-batches or stages."
}

both_accuracies() {
  echo "Winograd's convolution and the direct one, 64x64, $steps steps of 64 images:"
  echo
  accuracy direct
  accuracy winograd
}

report() {
  echo "# Long checks"
  echo
  echo "scripts/long_checks.sh, $(date +%F), commit $(git -c safe.directory="$root" rev-parse --short HEAD)," \
    "$(grep -m1 'model name' /proc/cpuinfo | cut -d: -f2 | xargs), $(nproc) cores."
  "$program" info | grep -E '^(instructions|compiled)' | sed 's/^/    /'
  local part
  for part in "${parts[@]}"; do
    echo
    case $part in
      tidy) tidy ;;
      bits) bits ;;
      accuracy) both_accuracies ;;
      kills) scripts/kill_check.sh "$program" 300 ;;
      peers) scripts/peer_check.sh "$program" 200 ;;
    esac
  done
}

report | tee "$work/report"
if [[ -n $record ]]; then cp "$work/report" "$record"; fi
