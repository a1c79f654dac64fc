#!/usr/bin/env bash
# A few of the kills of scripts/long_checks.sh: a training that is killed goes on with the same bits.
set -euo pipefail
root=$(cd -P "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
output=$("$root/scripts/kill_check.sh" "${1:?a build folder}/stagecoach" 6)
echo "$output"
[[ $output == *"6 kills, the weights are those"* ]]
