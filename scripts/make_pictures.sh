#!/usr/bin/env bash
# Makes the pictures of README.md and docs/schedules.md anew: scripts/make_pictures.sh [OPTION]
#
#   --simulated-only   leave out the two that training runs are measured for
#   --help             print this
#
# docs/schedules/NAME.svg: every schedule, simulated. docs/timeline_2.svg and docs/timeline_4.svg:
# AlexNet at 224x224 on two and on four stages, predicted above, measured below; half a minute each,
# and worth as much as the machine is quiet. STAGECOACH=FILE names the program, else it is built.
set -euo pipefail
root=$(cd -P "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

simulated_only=false
case ${1-} in
  "") ;;
  --simulated-only) simulated_only=true ;;
  --help | -h)
    sed -n '2,/^set/{/^set/!s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
    exit
    ;;
  *)
    echo "make_pictures.sh: expected --simulated-only, --help or nothing, got '$1'" >&2
    exit 2
    ;;
esac

if [[ -z ${STAGECOACH-} ]]; then
  "$root/scripts/build.sh" release stagecoach
  STAGECOACH=$root/build/release/stagecoach
fi
folder=$root/docs/schedules
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
mkdir -p "$folder"

wrote() {
  printf '%s  %d KB\n' "${1#"$root"/}" $((($(stat -c %s "$1") + 1023) / 1024))
}

# simulated PICTURE NAME [OPTION...]: of the schedule NAME.
simulated() {
  "$STAGECOACH" simulate --stages 4 --schedule "${@:2}" --svg "$folder/$1.svg" >"$work/output"
  wrote "$folder/$1.svg"
}

# trained FILE [OPTION...]: predicted and measured, of the step of median length.
trained() {
  "$STAGECOACH" train --steps 5 --quiet "${@:2}" --svg "$root/docs/$1" >"$work/output"
  grep '^bubble:' "$work/output"
  wrote "$root/docs/$1"
}

simulated naive naive --micro-batches 3 # with one at a time, more make a long picture
for name in gpipe 1f1b interleaved zb-h1 zb-v dualpipe-v forward-only; do
  simulated "$name" "$name" --micro-batches 8
done
simulated gpipe-recompute gpipe --micro-batches 8 --recompute always

$simulated_only && exit
trained timeline_2.svg --stages 2 --schedule 1f1b
trained timeline_4.svg --stages 4 --schedule zb-h1
