#!/usr/bin/env bash
# Fuzzes every reader of what others wrote: scripts/fuzz.sh SECONDS [TARGET...]
# SECONDS: of each target. Targets: tests/fuzz/*.cpp; all of them without names. Under AddressSanitizer and
# UndefinedBehaviorSanitizer, with clang; an input of at most 64 KiB may take 10 s and 2 GiB. What ends a reader by
# anything but an Error of ours is kept in build/asan/findings; mend it, and add it to tests/fuzz/seeds.
set -euo pipefail
root=$(cd -P "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
seconds=${1:?usage: scripts/fuzz.sh SECONDS [TARGET...]}
shift
targets=("$@")
if ((${#targets[@]} == 0)); then
  mapfile -t targets < <(basename -s .cpp tests/fuzz/*.cpp)
fi
export CC=${CC:-clang-19} CXX=${CXX:-clang++-19}
scripts/build.sh asan fuzzers
findings=$root/build/asan/findings
mkdir -p "$findings"
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
export TMPDIR=$work
failed=()
for target in "${targets[@]}"; do
  mkdir "$work/$target"
  if ! "build/asan/fuzz_$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=65536 \
    -print_final_stats=1 -verbosity=0 -artifact_prefix="$findings/$target-" "$work/$target" \
    "tests/fuzz/seeds/$target" >"$work/$target.log" 2>&1; then
    tail -40 "$work/$target.log" >&2
    failed+=("$target")
  fi
  # What the inputs that were kept reach, in edges of the program's control flow.
  coverage=$("build/asan/fuzz_$target" -runs=0 "$work/$target" "tests/fuzz/seeds/$target" 2>&1 |
    sed -n 's/.*\(INITED\|DONE\).* cov: \([0-9]*\) .*/\2/p' | tail -1) || true
  printf '%-14s %10s executions, %s inputs kept, coverage %s edges\n' "$target" \
    "$(sed -n 's/^stat::number_of_executed_units: *//p' "$work/$target.log")" \
    "$(find "$work/$target" -type f | wc -l)" "${coverage:-unknown}"
done
if ((${#failed[@]} > 0)); then
  echo "fuzz: findings of ${failed[*]} in build/asan/findings" >&2
  exit 1
fi
