#!/usr/bin/env bash
# A few of the faults of scripts/long_checks.sh peers, on a machine that may be busy.
set -euo pipefail
root=$(cd -P "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=${1:?a build folder}
if [[ ! -f $build/libstagecoach_openmpi.so ]]; then
  echo "this build has no plug-in for Open MPI"
  exit 77
fi
output=$(DEAD_LIMIT=20 FROZEN_LIMIT=20 "$root/scripts/peer_check.sh" "$build/stagecoach" 4)
echo "$output"
[[ $output == "4 faults "* ]]
