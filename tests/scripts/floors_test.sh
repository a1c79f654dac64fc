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
sources=(--include='*.h' --include='*.cpp' --include='*.cu')
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
  done < <(grep -rn "${sources[@]}" '^ *# *include "' "$floor")
done

# Rooms of a floor are held apart too: what a room may include, or the rest of its floor may not.
while read -r room allowed; do
  if grep -rnE "${sources[@]}" '^ *# *include "' "$room" | grep -vE "include \"($allowed)/"; then
    echo "$room includes only $allowed"
    wrong=$((wrong + 1))
  fi
done <<'ROOMS'
pipeline/schedule core|pipeline/schedule
pipeline/picture core|pipeline/schedule|pipeline/picture
ROOMS

if grep -rnE "${sources[@]}" '^ *# *include "trainer/cli/' trainer | grep -v '^trainer/cli/'; then
  echo "trainer must not use trainer/cli"
  wrong=$((wrong + 1))
fi
# Words of options are compared where they are read, in trainer/cli.
if grep -rnE "${sources[@]}" '[!=]= "(sgd|adam|time|uniform|parameters|auto|cpu|cuda|never|always|except_last)"' \
  core kernels layers data comm pipeline trainer; then
  echo "a word of an option has an enum"
  wrong=$((wrong + 1))
fi

# Every source has a header of its name. A folder of sources that are one function each, such as
# generators of schedules and layers, may share one; backends implement the header of what they are.
shared='^(pipeline/schedule/generators|layers|data|trainer/cli)/|^(core|kernels)/cuda/|/(main|plugin)\.cpp$'
for file in $(find "${!below[@]}" -name '*.cpp' | grep -vE "$shared"); do
  if [[ ! -f ${file%.cpp}.h ]]; then
    echo "$file has no header of its name"
    wrong=$((wrong + 1))
  fi
done

# A class of a header has a name of its own: two of one name are one to the linker. A backend's lie in its namespace.
names=$(grep -rhoE --include='*.h' '^(class|struct|enum class) [A-Z][A-Za-z0-9]*( final)?( :| \{)' "${!below[@]}" \
  --exclude-dir=cuda --exclude-dir=cpu | sed -E 's/^(enum )?(class|struct) ([A-Za-z0-9]*).*/\3/' | sort | uniq -d)
if [[ -n $names ]]; then
  echo "several classes are named: $names"
  wrong=$((wrong + 1))
fi

# Devices and transports stay behind their doors.
doors='^(core/cuda|kernels/cuda|comm/nccl|comm/mpi)/'
if grep -rnE "${sources[@]}" '# *include <(cuda|cudnn|cublas|nccl|mpi)' \
  core kernels layers data comm pipeline trainer | grep -vE "$doors"; then
  echo "only core/cuda, kernels/cuda, comm/nccl and comm/mpi include these"
  wrong=$((wrong + 1))
fi

# Every kernel says how many threads a block has at most (nvcc's own warning takes templates for
# kernels that do not), and is started by launch() or launch_blocks(), which checks what the driver says.
for file in kernels/cuda/*.cu; do
  kernels=$(grep -c '__global__' "$file" || true)
  bounded=$(grep -cE '__global__ void __launch_bounds__\(kThreads(, [0-9]+)?\)' "$file" || true)
  if ((kernels != bounded)); then
    echo "$file: $kernels kernels, but $bounded of them __global__ void __launch_bounds__(kThreads)"
    wrong=$((wrong + 1))
  fi
done
if grep -rnE "${sources[@]}" '<<<|__global__' core kernels layers data comm pipeline trainer |
  grep -vE '^kernels/cuda/[a-z0-9_]+\.cu:[0-9]+:.*__global__ '; then
  echo "kernels are in kernels/cuda/*.cu, and are started by launch() only"
  wrong=$((wrong + 1))
fi

# nvcc 13.0 ends with an internal error there; builds without it must not let it in.
if grep -nE '^ *# *include "core/error.h"' kernels/cuda/*.cu kernels/cuda/{launch,checks,image_items,step_state}.h; then
  echo "nvcc does not compile core/error.h: throw from a .cpp, as kernels/cuda/checks.cpp does"
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
