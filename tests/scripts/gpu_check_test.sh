#!/usr/bin/env bash
# scripts/gpu_check.sh: on this machine with its GPU hidden, if it has one; and whole runs on a
# machine that is made up, whose driver, CMake, CTest and sanitizer are the stand-ins below.
set -euo pipefail
root=$(cd -P "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
if ! command -v python3 >/dev/null; then
  echo "python3 is not installed: scripts/gpu_check.sh cannot be used here, nor tested"
  exit 77
fi
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
copy=$work/copy
failures=0

expect() { # expect WHAT COMMAND...: the command succeeds
  local what=$1
  shift
  if ! "$@"; then
    printf 'FAILED: %s: %s\n--- output\n%s\n' "$name" "$what" "$output"
    failures=$((failures + 1))
  fi
}
matches() { [[ $1 == *"$2"* ]]; }
lacks() { [[ $1 != *"$2"* ]]; }

name="no GPU"
status=0
output=$(CUDA_VISIBLE_DEVICES='' timeout 30 "$root/scripts/gpu_check.sh" --out "$work/none" 2>&1) ||
  status=$?
expect "exit status 3" test "$status" = 3
expect "one line" test "$(wc -l <<<"$output")" = 1
expect "that says so" matches "$output" "gpu_check: no GPU here: "
expect "nothing is written" test ! -e "$work/none"

# A driver with one GPU, of capability 9.0 and 132 multiprocessors.
mkdir -p "$work/driver" "$work/toolkit/bin"
cat >"$work/driver.c" <<'END'
#include <stddef.h>
#include <string.h>
int cuInit(unsigned flags) { return 0; }
int cuDeviceGetCount(int* count) { *count = 1; return 0; }
int cuDriverGetVersion(int* version) { *version = 13000; return 0; }
int cuDeviceGet(int* device, int index) { *device = index; return 0; }
int cuDeviceGetName(char* name, int size, int device) { strcpy(name, "NVIDIA Paper 1"); return 0; }
int cuDeviceTotalMem_v2(size_t* bytes, int device) { *bytes = (size_t)80 << 30; return 0; }
int cuDeviceGetAttribute(int* value, int attribute, int device) {
  *value = attribute == 16 ? 132 : attribute == 75 ? 9 : 0;
  return 0;
}
END
# A cuDNN that knows this GPU.
cat >"$work/cudnn.c" <<'END'
#include <stddef.h>
#include <stdint.h>
#include <string.h>
size_t cudnnGetVersion(void) { return 91900; }
const char* cudnnGetErrorString(int status) { return "made up"; }
int cudnnBackendCreateDescriptor(int type, void** descriptor) { *descriptor = NULL; return 0; }
int cudnnBackendDestroyDescriptor(void* descriptor) { return 0; }
int cudnnBackendSetAttribute(void* d, int name, int type, int64_t n, void* value) { return 0; }
int cudnnBackendFinalize(void* descriptor) { return 0; }
int cudnnBackendGetAttribute(void* d, int name, int type, int64_t n, int64_t* written, void* to) {
  strcpy(to, "{\"deviceName\": \"NVIDIA Paper 1\"}");
  return 0;
}
END
"${CC:-gcc}" -shared -fPIC -o "$work/driver/libcuda.so.1" "$work/driver.c"
"${CC:-gcc}" -shared -fPIC -o "$work/driver/libcudnn.so.9" "$work/cudnn.c"

stand_in() { # stand_in NAME: the script on stdin
  { echo "#!/usr/bin/env bash" && cat; } >"$work/toolkit/bin/$1"
  chmod +x "$work/toolkit/bin/$1"
}

# machine NAME: everything is there and works; what went before is forgotten.
machine() {
  name=$1
  rm -rf "$copy" "$work/out"
  mkdir -p "$copy"
  cp -r "$root/scripts" "$copy/"
  mkdir "$copy/bench"
  cp -r "$root/bench/gpu" "$root/bench/peers" "$copy/bench/"
  stand_in nvcc <<<'printf "release 13.0\nBuild made up\n"'
  stand_in g++ <<<'cat >/dev/null'
  stand_in ninja </dev/null
  stand_in cmake <<'END'
[[ $1 == --preset ]] && echo "$*" >build/configured && exit 0
mkdir -p build/cuda
cat >build/cuda/stagecoach <<'PROGRAM'
#!/usr/bin/env bash
[[ $1 != info ]] || { echo "cuda made of paper" && exit 0; }
while (($# > 0)); do
  [[ $1 != --report ]] || report=$2
  shift
done
echo '{"device": "cuda", "images_per_second": 1000, "step_seconds_median": 0.032, "bubble": null}' \
  >"$report"
PROGRAM
chmod +x build/cuda/stagecoach
END
  stand_in ctest <<'END'
if [[ $* == *--show-only* ]]; then
  cat <<JSON
{"tests": [
 {"name": "cuda.Relu.Odd", "command": ["build/cuda/cuda_test", "--gtest_filter=Relu.Odd"]},
 {"name": "trainer.Run", "command": ["build/cuda/trainer_test", "--gtest_filter=Run.All"]}]}
JSON
  exit 0
fi
[[ $STAGECOACH_REQUIRE_GPU == 1 ]] || exit 1
file=${*: -1}
cat >"$file" <<XML
<testsuite><testcase name="core.A" status="run"/><testcase name="core.B" status="notrun"><skipped/>
<system-out>b_test.cpp:3: Skipped
needs two users

</system-out></testcase></testsuite>
XML
END
  stand_in compute-sanitizer <<'END'
if [[ $1 == --help ]]; then echo "  --kernel-name arg"; else echo "checks: $*"; fi
END
  stand_in python-with-torch <<'END'
echo '{"setting": "default", "images_per_second": 500, "step_seconds_median": 0.064}'
END
}

run() { # sets status, output, record
  status=0
  output=$(cd "$work" && PATH=$work/toolkit/bin:$PATH LD_LIBRARY_PATH=$work/driver \
    TORCH_PYTHON=python-with-torch STAGECOACH_COMMIT=abc123 CUDA_VISIBLE_DEVICES=0 \
    timeout 120 "$copy/scripts/gpu_check.sh" "$@" --out "$work/out" 2>&1) || status=$?
  record=$(cat "$work"/out/gpu_paper_1_*.md 2>/dev/null) || true
}

machine "all is well"
run
expect "succeeds" test "$status" = 0
expect "builds for this GPU" grep -q -- '-DCMAKE_CUDA_ARCHITECTURES=90-real' "$copy/build/configured"
expect "GPU" matches "$record" "NVIDIA Paper 1, 132 multiprocessors, capability 9.0, 80.0 GiB"
expect "commit" matches "$record" "commit abc123"
expect "driver" matches "$record" "for CUDA 13.0"
expect "what the program says" matches "$record" "cuda made of paper"
expect "tests" matches "$record" "1 passed, 0 failed, 1 skipped."
expect "why skipped" matches "$record" "- skipped: core.B: needs two users"
expect "training" matches "$record" "| 32 | Stagecoach, bf16 | 1000 | 1000 - 1000 |"
expect "PyTorch" matches "$record" "| 32 | PyTorch as used | 500 |"
expect "what is not there" matches "$record" "| kernels | not run | 0 | there is no program"
expect "JSON too" python3 -c "import glob, json, sys
record = json.load(open(glob.glob(sys.argv[1] + '/gpu_paper_1_*.json')[0]))
assert record['device_properties'] == {'deviceName': 'NVIDIA Paper 1'}, record" "$work/out"
log=$(<"$copy/build/gpu_check/racecheck.log")
expect "sanitizer sees the small tests" matches "$log" "cuda_test --gtest_filter=Relu.Odd"
expect "sanitizer sees own kernels only" matches "$log" "--tool racecheck --error-exitcode 9 --kernel-name"
expect "and not the large ones" lacks "$log" "trainer_test"

# What an earlier part found stays in the record; another commit's does not.
machine "in parts"
run test
expect "tests alone" lacks "$output" "== training"
run bench
expect "bench alone" lacks "$output" "== test"
expect "both in the record" matches "$record" "1 passed, 0 failed"
status=0
output=$(cd "$copy" && PATH=$work/toolkit/bin:$PATH LD_LIBRARY_PATH=$work/driver \
  STAGECOACH_COMMIT=other scripts/gpu_check.sh build --out "$work/other" 2>&1) || status=$?
expect "another commit starts anew" matches "$(cat "$work"/other/*.md)" "The tests were not run."

machine "a test fails, the sanitizer finds something, a setting of PyTorch fails"
stand_in ctest <<'END'
if [[ $* == *--show-only* ]]; then
  echo '{"tests": [{"name": "a", "command": ["cuda_test", "--gtest_filter=A.B"]}]}'
  exit 0
fi
echo '<testsuite><testcase name="cuda.Relu.Odd" status="fail"><failure/></testcase></testsuite>' \
  >"${*: -1}"
echo "expected 1, got 2"
exit 8
END
stand_in compute-sanitizer <<'END'
[[ $1 == --help ]] || exit 9
END
stand_in python-with-torch <<<'echo "{\"setting\": \"default\", \"error\": \"out of memory\"}"'
run
expect "fails" test "$status" = 1
expect "names the test" matches "$record" "- failed: cuda.Relu.Odd"
expect "shows its output" matches "$record" "expected 1, got 2"
expect "the step" matches "$record" "| test | **failed** |"
expect "the sanitizer" matches "$record" "cuda_test: findings"
expect "goes on" matches "$record" "| 32 | Stagecoach, bf16 | 1000 |"
expect "PyTorch's failure" matches "$record" "round 1: out of memory"

machine "the build fails"
stand_in cmake <<'END'
[[ $1 == --preset ]] || exit 1
END
run
expect "fails" test "$status" = 1
expect "says why the others did not run" matches "$record" "| test | not run | 0 | the build failed |"

machine "headers are missing"
stand_in g++ <<<'cat >/dev/null; echo fmt/format.h'
run
expect "exit status 2" test "$status" = 2
expect "names them" matches "$output" "no package here has: fmt/format.h"
expect "says what to do" matches "$output" "scripts/pack_dependencies.sh"

name="unknown part"
run everything
expect "usage error" test "$status" = 2
run --help
expect "help succeeds" test "$status" = 0
expect "help is help" matches "$output" "usage: scripts/gpu_check.sh"

if ((failures > 0)); then
  echo "$failures checks failed"
  exit 1
fi
echo "gpu_check: all checks hold"
