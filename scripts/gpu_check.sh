#!/usr/bin/env bash
# Everything that only a machine with a GPU can show: scripts/gpu_check.sh --help
# Each step has its own time limit and log (build/gpu_check/), and none stops the ones after it.
set -euo pipefail
root=$(cd -P "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
state=build/gpu_check
part_seconds=585  # one part ends within ten minutes, whatever hangs
failures=0

usage() {
  cat <<'END'
usage: scripts/gpu_check.sh [all|build|test|bench|sanitize] [--out FOLDER]
  build     configures the preset cuda for this machine's GPU and builds what the other parts run;
            they do it too, each its own
  test      the GPU's tests, a process for each group (bench/gpu/test_groups.py), so that a crash or
            a time limit costs one group. The other tests need no GPU and do not run here.
  bench     kernels, then training beside PyTorch. Another call goes on where the last one ended.
  sanitize  compute-sanitizer's memcheck over the small tests of own kernels, then initcheck if time
            is left. No racecheck: it looks at shared memory, which no kernel here has.
  all       all of it, in this order (the default); a part alone ends within ten minutes
What came out is written to FOLDER/gpu_NAME_DATE.md and .json (default: bench/results), together with
what earlier parts left in build/gpu_check. Needs an NVIDIA driver, the CUDA toolkit, cuDNN (also
from Python's wheels), cmake, ninja, g++, python3, and the libraries of third_party/README.md: from
the system, or from build/dependencies(.tar.gz), which scripts/pack_dependencies.sh makes elsewhere.
No network. TORCH_PYTHON is a Python that has PyTorch (default: python3). STAGECOACH_COMMIT, or the
file build/commit, names the commit where there is no .git.
Exit status: 0 all passed, 1 a step failed, 2 something is missing or asked wrongly, 3 no GPU.
END
}

fail() {
  printf 'gpu_check: %s\n' "$@" >&2
  exit 2
}

parts=()
out=bench/results
while (($# > 0)); do
  case $1 in
    all) parts=(test bench sanitize) ;;
    build | test | bench | sanitize) parts=("$1") ;;
    --out) out=${2:?--out needs a folder} && shift ;;
    -h | --help) usage && exit 0 ;;
    *) usage >&2 && exit 2 ;;
  esac
  shift
done
if ((${#parts[@]} == 0)); then parts=(test bench sanitize); fi
if ((${#parts[@]} > 1)); then part_seconds=3600; fi

gpu_name='' gpu_architecture='' cuda_home='' cublas_root='' cudnn_root='' nccl_root='' wheel_libraries=''
command -v python3 >/dev/null || fail "python3 is missing"
# What Python warns of is for people: only what it prints is evaluated.
errors=$(mktemp)
if ! variables=$(python3 bench/gpu/machine.py --shell 2>"$errors"); then
  sed 's/^/gpu_check: /' "$errors" >&2
  rm "$errors"
  exit 3
fi
cat "$errors" >&2
rm "$errors"
eval "$variables"

check_tools() {
  local missing=() tool
  [[ -n $cuda_home ]] || missing+=(nvcc)
  export PATH=$cuda_home/bin:$PATH
  for tool in cmake ninja g++; do
    command -v "$tool" >/dev/null || missing+=("$tool")
  done
  ((${#missing[@]} == 0)) || fail "not on this machine: ${missing[*]}"
}

# Compiles nothing: asks the compiler which headers it finds.
check_libraries() {
  local header missing
  if [[ ! -d build/dependencies && -f build/dependencies.tar.gz ]]; then
    tar -C build -xzf build/dependencies.tar.gz
  fi
  local include=()
  if [[ -d build/dependencies ]]; then
    include=(-Ibuild/dependencies/include -Ibuild/dependencies/include/eigen3)
    export CMAKE_PREFIX_PATH=$root/build/dependencies${CMAKE_PREFIX_PATH:+:$CMAKE_PREFIX_PATH}
    # An RPATH of the old kind also counts for the libraries that those libraries load.
    export LDFLAGS="-Wl,--disable-new-dtags ${LDFLAGS:-}"
  fi
  missing=$(for header in fmt/format.h spdlog/spdlog.h CLI/CLI.hpp nlohmann/json.hpp hwy/highway.h \
    curl/curl.h archive.h openssl/evp.h gtest/gtest.h benchmark/benchmark.h; do
    printf '#if !__has_include(<%s>)\n%s\n#endif\n' "$header" "$header"
  done | g++ "${include[@]}" -I/usr/include/eigen3 -E -P -x c++ - | xargs)
  [[ -z $missing ]] || fail "headers that no package here has: $missing" \
    "On Debian 12 run scripts/pack_dependencies.sh, and carry build/dependencies.tar.gz here."
}

use_cuda() {
  export CUDACXX=$cuda_home/bin/nvcc CUDAToolkit_ROOT=$cuda_home
  if [[ -n $cublas_root ]]; then export CPATH=$cublas_root/include${CPATH:+:$CPATH}; fi
  if [[ -n $cudnn_root ]]; then export CUDNN_ROOT=$cudnn_root; fi
  if [[ -n $nccl_root ]]; then export NCCL_ROOT=$nccl_root; fi
  # Without empty entries: each would be the folder that a program is started in.
  local libraries
  libraries=$(tr -s : <<<"$wheel_libraries:$cuda_home/lib64:$cuda_home/lib:${LD_LIBRARY_PATH:-}")
  libraries=${libraries#:}
  export LD_LIBRARY_PATH=${libraries%:}
  # Without a GPU the tests fail, not skip.
  export STAGECOACH_REQUIRE_GPU=1
}

seconds_left() { echo $((part_seconds - SECONDS)); }

# step NAME SECONDS COMMAND...: with a limit and a log; the result is kept for the record.
step() {
  local name=$1 limit=$2 status=0 start=$SECONDS
  shift 2
  local rest
  rest=$(seconds_left)
  if ((rest < 10)); then
    failures=$((failures + 1))
    not_run "$name" "no time was left"
    return 1
  fi
  ((limit < rest)) || limit=$rest
  printf '== %s (at most %d s): %s\n' "$name" "$limit" "$*"
  timeout --kill-after=10 "$limit" "$@" </dev/null >"$state/$name.log" 2>&1 || status=$?
  keep "$name" "$status" $((SECONDS - start)) "$limit" "$*"
  if ((status == 0)); then
    printf '   passed, %d s\n' $((SECONDS - start))
  else
    failures=$((failures + 1))
    tail -n 15 "$state/$name.log" | sed 's/^/   | /'
    printf '   FAILED with status %d, %d s; log: %s/%s.log\n' "$status" $((SECONDS - start)) \
      "$state" "$name"
  fi
  return "$status"
}
keep() { # keep NAME STATUS SECONDS LIMIT COMMAND
  printf '%s\t%s\t%s\t%s\t%s\n' "$@" >"$state/$1.step"
}
# The same for a command that prints JSON; it is kept apart from the log, as NAME.json.
step_json() {
  if ! step "$@"; then return 1; fi
  cp "$state/$1.log" "$state/$1.json"
}
not_run() { # not_run NAME WHY: what an earlier call left of it stays in the record
  echo "== $1: not run: $2"
  [[ -e $state/$1.step ]] || keep "$1" not-run 0 0 "$2"
}

configure() {
  # This machine's compilers may know warnings that no other has shown.
  step configure 120 cmake --preset cuda -DSTAGECOACH_CUDA=ON -DSTAGECOACH_WERROR=OFF \
    -DCMAKE_CUDA_ARCHITECTURES="$gpu_architecture-real"
}
build() { # build TARGET
  step "build_$1" 480 cmake --build build/cuda -j "$(nproc)" --target "$1"
}

run_build() {
  build gpu_test || true
  build bench_cuda || true
}

run_test() {
  build gpu_test || return 0
  step test_list 30 build/cuda/gpu_test --gtest_list_tests || true
  local group seconds filter
  while read -r group seconds filter; do
    step "test_$group" "$seconds" build/cuda/gpu_test --gtest_filter="$filter" || true
  done < <(python3 bench/gpu/test_groups.py)
}

run_sanitize() {
  build gpu_test || return 0
  step memcheck 400 python3 scripts/sanitize_gpu_tests.py build/cuda/gpu_test || true
  if (($(seconds_left) > 60)); then
    step initcheck 280 python3 scripts/sanitize_gpu_tests.py --tool initcheck build/cuda/gpu_test ||
      true
  else
    not_run initcheck "no time was left"
  fi
}

run_bench() {
  # Planning without a GPU takes such a description for a fixture.
  step_json device_properties 60 python3 bench/gpu/device_properties.py || true
  # Whole, or cut by its limit, which would cut it there again.
  if grep -Eqs $'^kernels\t(0|124)\t' "$state/kernels.step"; then
    echo "== kernels: an earlier call ran them"
  elif build bench_cuda; then
    step kernels 150 build/cuda/bench_cuda --benchmark_min_time=0.05 \
      --benchmark_out="$state/kernels.json" --benchmark_out_format=json || true
  fi
  local rest
  rest=$(seconds_left)
  ((rest < 1800)) || rest=1800
  step training "$rest" python3 bench/gpu/run.py --stagecoach build/cuda/stagecoach \
    --torch-python "${TORCH_PYTHON:-python3}" --time-limit $((rest - 15)) --continue \
    --output "$state/training" || true
}

check_tools
check_libraries
use_cuda
mkdir -p "$state"
# Figures of another commit or day do not belong into this record.
python3 bench/gpu/record.py --forget-others "$state"
echo "gpu_check: ${parts[*]} on $gpu_name"
step_json machine 60 python3 bench/gpu/machine.py || true
if configure && build stagecoach; then
  step info 60 build/cuda/stagecoach info || true
  for part in "${parts[@]}"; do "run_$part"; done
else
  echo "gpu_check: nothing else was run: the build failed"
fi
python3 bench/gpu/record.py --out "$out" "$state"
if ((failures > 0)); then
  echo "gpu_check: $failures steps failed"
  exit 1
fi
echo "gpu_check: all steps passed"
