#!/usr/bin/env bash
# Each floor includes only itself and the floors that docs/design.md puts below it.
set -euo pipefail
root=$(cd -P "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$root"

declare -A below=(
  [core]="core"
  [kernels]="kernels core"
  [layers]="layers kernels core"
  [data]="data kernels core"
  [comm]="comm core"
  [pipeline]="pipeline comm layers kernels core"
  [trainer]="trainer pipeline data comm layers kernels core"
)
floors="${!below[*]}"
checked=0
wrong=0

for floor in $floors; do
  while IFS=: read -r file line text; do
    checked=$((checked + 1))
    # "kernels/conv2d.h" -> kernels
    included=${text#*\"}
    included=${included%%/*}
    if [[ " $floors " == *" $included "* && " ${below[$floor]} " != *" $included "* ]]; then
      echo "$file:$line: $floor must not use $included: $text"
      wrong=$((wrong + 1))
    fi
  done < <(grep -rn --include='*.h' --include='*.cpp' '^ *# *include "' "$floor")
done

# Devices and transports stay behind their doors.
if grep -rnE --include='*.h' --include='*.cpp' '# *include <(cuda|cudnn|cublas|nccl|mpi)' \
  core layers data pipeline trainer; then
  echo "only kernels/cuda, comm/nccl and comm/mpi include these"
  wrong=$((wrong + 1))
fi

if ((checked < 50)); then
  echo "only $checked includes found: is this the right folder?"
  exit 1
fi
if ((wrong > 0)); then
  exit 1
fi
echo "$checked includes keep to their floors"
