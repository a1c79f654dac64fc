#!/usr/bin/env bash
# Everything that only a machine with a GPU can show, in three calls: scripts/gpu_check.sh --help
# Each step has its own time limit and log (build/gpu_check/), and none stops the ones after it.
set -euo pipefail
caller=$PWD
root=$(cd -P "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
state=build/gpu_check
slower=${GPU_CHECK_SLOWER:-1}     # times what a step may take: for the rehearsal on a busy processor
call_seconds=$((585 * slower))  # a call ends within ten minutes, whatever hangs
refresh_seconds=15
failures=0 planned=0 child='' sleeper='' list='' recording='' recorded=-2 unwritten=''

# What is trained; smaller in the rehearsal.
batches=${GPU_CHECK_BATCHES:-128,1024,32}
image_size=${GPU_CHECK_IMAGE_SIZE:-224}
rounds=${GPU_CHECK_ROUNDS:-3}
run_seconds=${GPU_CHECK_RUN_SECONDS:-4.5}
stages=${GPU_CHECK_STAGES:-0,1,2,4}
bits_batch=${GPU_CHECK_BITS_BATCH:-128}
epoch_images=${GPU_CHECK_EPOCH_IMAGES:-9000}
curve_steps=${GPU_CHECK_CURVE_STEPS:-60}
torch_python=${TORCH_PYTHON:-python3}

usage() {
  cat <<'END'
usage: scripts/gpu_check.sh build-test|bench-step|bench-more [--out FOLDER] [--list]
Each call needs nothing of the others, and ends within ten minutes, building anew on 16 cores included:
  build-test  builds, runs the GPU's tests, a process for each group (bench/gpu/test_groups.py), so that
              a crash or a time limit costs one group; then compute-sanitizer's memcheck over a training
              and over the small tests of own kernels. No racecheck: it looks at shared memory, which no
              kernel here has. The other tests need no GPU and do not run here.
  bench-step  training steps beside PyTorch's, the weights' checksums for every number of stages, the
              kernels of a step under Nsight Compute, then further rounds
  bench-more  three epochs on CIFAR-10, the loss beside PyTorch's, memory, NCCL, each kernel; pipelines,
              --tune, torch.compile, TF32 and fp32
  --list      the steps of a call and the seconds that each has at most; runs nothing
What came out is written after each step, every 15 seconds, and when a signal ends the call, to
FOLDER/gpu_NAME_DATE_CALL.md, .json and .tgz, the logs (default: bench/results); no more than these.
Needs an NVIDIA driver, the CUDA toolkit, cuDNN (also from Python's wheels), cmake, ninja, g++, python3,
and the libraries of third_party/README.md: from the system, or from build/dependencies(.tar.gz). No
network, no .git. scripts/pack_gpu_day.sh makes what has to be carried: the libraries, images of CIFAR-10
(build/images.tar.gz) and build/commit. TORCH_PYTHON is a Python that has PyTorch (default: python3).
STAGECOACH_COMMIT, or the file build/commit, names the commit where there is no .git.
Exit status: 0 all passed, 1 a step failed, 2 something is missing or asked wrongly, 3 no GPU.
END
}

fail() {
  printf 'gpu_check: %s\n' "$@" >&2
  exit 2
}

call=''
out=bench/results
while (($# > 0)); do
  case $1 in
    build-test | bench-step | bench-more) call=$1 ;;
    --out)
      out=${2:?--out needs a folder} && shift
      [[ $out == /* ]] || out=$caller/$out
      ;;
    --list) list=1 ;;
    -h | --help) usage && exit 0 ;;
    *) usage >&2 && exit 2 ;;
  esac
  shift
done
[[ -n $call ]] || { usage >&2 && exit 2; }
command -v python3 >/dev/null || fail "python3 is missing"

gpu_name='' gpu_architecture='' cuda_home='' cublas_root='' cudnn_root='' nccl_root='' wheel_libraries=''
ask_machine() {
  # What Python warns of is for people: only what it prints is evaluated.
  local errors variables
  errors=$(mktemp)
  if ! variables=$(python3 bench/gpu/machine.py --shell 2>"$errors"); then
    sed 's/^/gpu_check: /' "$errors" >&2
    rm "$errors"
    exit 3
  fi
  cat "$errors" >&2
  rm "$errors"
  eval "$variables"
}

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
    "On Debian 12 run scripts/pack_gpu_day.sh, and carry what it makes here."
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

# At most every two seconds: of steps that are shorter, the next one writes it, or the end.
record() {
  unwritten=1
  [[ -n $recording ]] && ((SECONDS >= recorded + 2)) || return 0
  recorded=$SECONDS unwritten=''
  python3 bench/gpu/record.py --call "$call" --name "$record_name" --out "$out" "$state" >/dev/null ||
    echo "gpu_check: the record could not be written to $out"
}
# Whatever ends the call, what was found is written first, while what still runs is told to end.
ended() { # ended STATUS
  trap '' EXIT TERM INT HUP
  if [[ -n $child ]]; then kill -TERM "$child" "$sleeper" 2>/dev/null || true; fi
  recorded=-2
  record
  exit "$1"
}

# step NAME SECONDS COMMAND...: with a limit and a log; the result is kept for the record. The limits of a
# call add up to less than it has, so each step has its own whatever those before it did; what they left,
# it may use too, but no more than twice its own ($most). It finds its seconds in $STEP_SECONDS. Exit
# status 77: not run, for the reason that it printed last.
step() {
  local name=$1 limit=$(($2 * slower)) status=0 start=$SECONDS rest
  shift 2
  planned=$((planned + limit))
  if [[ -n $list ]]; then
    printf '%s\t%s\t%s\n' "$name" "$limit" "$*"
    return 0
  fi
  rest=$((planned - SECONDS))
  ((rest <= ${most:-$((2 * limit))})) || rest=${most:-$((2 * limit))}
  if ((rest < 2)); then
    failures=$((failures + 1))
    not_run "$name" "no time was left"
    return 1
  fi
  printf '== %s (at most %d s): %s\n' "$name" "$rest" "$*"
  keep "$name" running 0 "$rest" "$*"
  # Ends 3 s early, as what does not end by itself takes those.
  STEP_SECONDS=$rest timeout --kill-after=3 $((rest > 6 ? rest - 3 : rest)) "$@" \
    </dev/null >"$state/$name.log" 2>&1 &
  child=$!
  attend || status=$?
  child=''
  if ((status == 77)); then
    not_run "$name" "$(tail -n 1 "$state/$name.log")"
    return 1
  fi
  keep "$name" "$status" $((SECONDS - start)) "$rest" "$*"
  if ((status == 0)); then
    printf '   passed, %d s\n' $((SECONDS - start))
  else
    failures=$((failures + 1))
    tail -n 15 "$state/$name.log" | sed 's/^/   | /'
    printf '   FAILED with status %d, %d s; log: %s/%s.log\n' "$status" $((SECONDS - start)) \
      "$state" "$name"
  fi
  record
  return "$status"
}
# Waits for the step, which writes what it finds as it finds it: of a call that is killed, which nothing
# can answer, the record is no older than this.
attend() {
  while true; do
    sleep "$(if [[ -n $unwritten ]]; then echo 2; else echo "$refresh_seconds"; fi)" &
    sleeper=$!
    wait -n "$child" "$sleeper" || true
    if ! kill -0 "$child" 2>/dev/null; then
      kill "$sleeper" 2>/dev/null || true
      wait "$child"
      return
    fi
    record
  done
}
keep() { # keep NAME STATUS SECONDS LIMIT COMMAND
  printf '%s\t%s\t%s\t%s\t%s\n' "$@" >"$state/$1.step"
}
# The same for a command that prints JSON; it is kept apart from the log, as NAME.json.
step_json() {
  step "$@" || return 1
  if [[ -z $list ]]; then cp "$state/$1.log" "$state/$1.json" && record; fi
}
not_run() { # not_run NAME WHY
  [[ -z $list ]] || return 0
  echo "== $1: not run: $2"
  keep "$1" not-run 0 0 "$2"
  record
}

# build SECONDS TARGET...: what fails to compile must not cost the other targets.
build() {
  local limit=$1
  shift
  step_json machine 15 python3 bench/gpu/machine.py || true
  # This machine's compilers may know warnings that no other has shown.
  step configure 35 cmake --preset cuda -DSTAGECOACH_CUDA=ON -DSTAGECOACH_WERROR=OFF \
    -DCMAKE_CUDA_ARCHITECTURES="$gpu_architecture-real" || return 0
  step build "$limit" cmake --build build/cuda -j "$(nproc)" --target "$@" -- -k 0 || true
  if built stagecoach; then step info 10 build/cuda/stagecoach info || true; fi
}
built() { [[ -n $list || -x build/cuda/$1 ]]; }

# needs STEP PROGRAM: whether the program was built; else the step is not run.
needs() {
  if ! built "$2"; then
    not_run "$1" "$2 was not built"
    return 1
  fi
}

sanitize() { # sanitize NAME SECONDS ARGUMENT...: of sanitize_gpu_tests.py
  local name=$1 limit=$2
  shift 2
  if [[ -z $list ]] && ! command -v compute-sanitizer >/dev/null; then
    not_run "$name" "compute-sanitizer is not on PATH"
    return 0
  fi
  step "$name" "$limit" python3 scripts/sanitize_gpu_tests.py "$@" || true
}

run_build-test() {
  build 190 stagecoach gpu_test
  if needs tests gpu_test; then
    step test_list 5 build/cuda/gpu_test --gtest_list_tests || true
    local group seconds filter
    while read -r group seconds filter; do
      step "test_$group" "$seconds" build/cuda/gpu_test --gtest_filter="$filter" || true
    done < <(python3 bench/gpu/test_groups.py)
  fi
  if needs memcheck_train stagecoach; then
    sanitize memcheck_train 40 build/cuda/stagecoach -- train --data synthetic --device cuda --eager \
      --steps 2 --image-size 64 --stages 2 --partition uniform --micro-batches 2 \
      --micro-batch-size 4 --quiet
  fi
  if needs memcheck gpu_test; then most=$call_seconds sanitize memcheck 70 build/cuda/gpu_test; fi
}

# Further calls add rounds to the same file.
training() { # training NAME SECONDS PLAN ARGUMENT...
  local name=$1 limit=$2 plan=$3
  shift 3
  step "$name" "$limit" python3 bench/gpu/run.py --stagecoach build/cuda/stagecoach --plan "$plan" \
    --batches "$batches" --image-size "$image_size" --seconds "$run_seconds" \
    --torch-python "$torch_python" --output "$state/training" --continue "$@" || true
}

run_bench-step() {
  build 120 stagecoach
  needs training stagecoach || return 0
  training training 245 step --rounds 1
  step same_bits 70 python3 bench/gpu/same_bits.py --stagecoach build/cuda/stagecoach --stages "$stages" \
    --batch "$bits_batch" --image-size "$image_size" --longest "${GPU_CHECK_LONGEST:-40}" || true
  step profile 55 python3 bench/gpu/profile_step.py --stagecoach build/cuda/stagecoach \
    --batch "${batches%%,*}" --image-size "$image_size" || true
  most=$call_seconds training training_again 35 step --rounds "$rounds"
}

run_bench-more() {
  build 130 stagecoach bench_cuda
  if needs training stagecoach; then
    if unpack_images; then
      step epochs 40 build/cuda/stagecoach train --data cifar10 --data-dir build/images --device cuda \
        --precision bf16 --image-size "$image_size" --stages 2 --micro-batches 4 --micro-batch-size \
        "${GPU_CHECK_EPOCH_BATCH:-32}" --optimizer sgd --max-train-samples "$epoch_images" \
        --max-test-samples $((epoch_images / 9)) --epochs 3 --eval-every \
        $((epoch_images / (4 * ${GPU_CHECK_EPOCH_BATCH:-32}))) --report "$state/epochs.json" --quiet ||
        true
      step curve 75 "$torch_python" bench/peers/first_steps.py --stagecoach build/cuda/stagecoach \
        --data-dir build/images --max-train-samples "$epoch_images" --device cuda --precision fp32 \
        --batch 64 --image-size 112 --steps "$curve_steps" --output "$state/curve" || true
    fi
    step memory 40 python3 bench/gpu/memory.py --stagecoach build/cuda/stagecoach --batches \
      "${batches%,*}" --image-size "$image_size" || true
    step nccl 25 python3 bench/gpu/nccl_probe.py || true
    # Planning without a GPU takes such a description for a fixture.
    step_json device_properties 10 python3 bench/gpu/device_properties.py || true
  fi
  if needs kernels bench_cuda; then
    step kernels 75 build/cuda/bench_cuda --benchmark_min_time=0.05 \
      --benchmark_out="$state/kernels.json" --benchmark_out_format=json || true
  fi
  if built stagecoach; then most=$call_seconds training training 130 more --rounds "$rounds"; fi
}

unpack_images() {
  [[ -z $list ]] || return 0
  if [[ ! -d build/images && -f build/images.tar.gz ]]; then tar -C build -xzf build/images.tar.gz; fi
  if [[ -d build/images ]]; then return 0; fi
  not_run epochs "there is no build/images.tar.gz, which scripts/pack_gpu_day.sh makes"
  not_run curve "there is no build/images.tar.gz, which scripts/pack_gpu_day.sh makes"
  return 1
}

if [[ -n $list ]]; then
  "run_$call"
  exit 0
fi
ask_machine
check_tools
check_libraries
use_cuda
record_name=${gpu_name,,}
record_name=gpu_$(tr -cs 'a-z0-9\n' _ <<<"${record_name#nvidia }")_$(date -u +%F)_$call
rm -rf "$state"
mkdir -p "$state"
recording=1
trap 'ended $?' EXIT
trap 'ended 143' TERM
trap 'ended 130' INT
trap 'ended 129' HUP
echo "gpu_check: $call on $gpu_name"
"run_$call"
if ((failures > 0)); then
  echo "gpu_check: $failures steps failed"
  exit 1
fi
echo "gpu_check: all steps passed"
