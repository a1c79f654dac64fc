#!/usr/bin/env bash
# What takes too long for .ci/run, before an issue is closed: scripts/long_checks.sh [--record FILE]
#   clang-tidy over all sources (CI: core, comm and pipeline)
#   AlexNet on CIFAR-10 at 64x64 with direct convolutions and with Winograd's: the same test accuracy,
#   within noise. STAGECOACH_LONG_STEPS: how many steps of 64 images (default 780, an epoch).
# Needs a release build (scripts/build.sh). --record writes what it saw as Markdown.
set -euo pipefail
root=$(cd -P "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
steps=${STAGECOACH_LONG_STEPS:-780}
record=
case ${1:-} in
  "") ;;
  --record) record=${2:?long_checks: --record needs a file} ;;
  -h | --help) sed -n '2,7s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" && exit 0 ;;
  *) echo "usage: scripts/long_checks.sh [--record FILE]" >&2 && exit 2 ;;
esac

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

report() {
  echo "# Long checks"
  echo
  echo "scripts/long_checks.sh, $(date +%F), commit $(git -c safe.directory="$root" rev-parse --short HEAD)," \
    "$(grep -m1 'model name' /proc/cpuinfo | cut -d: -f2 | xargs), $(nproc) cores."
  "$program" info | grep -E '^(instructions|compiled)' | sed 's/^/    /'
  echo
  echo "clang-tidy: $(scripts/tidy_check.sh 2>"$work/tidy" || { cat "$work/tidy" >&2; false; })"
  echo
  echo "Winograd's convolution and the direct one, 64x64, $steps steps of 64 images:"
  echo
  accuracy direct
  accuracy winograd
}

report | tee "$work/report"
if [[ -n $record ]]; then cp "$work/report" "$record"; fi
