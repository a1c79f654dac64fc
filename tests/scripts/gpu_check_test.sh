#!/usr/bin/env bash
# scripts/gpu_check.sh: on this machine with its GPU hidden, if it has one; and whole runs on a
# machine that is made up, whose driver, CMake, programs and sanitizer are the stand-ins below.
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

# As a GoogleTest program behaves; what a test does is in its name. Writes what ran to build/ran.
cat >"$work/gpu_test" <<'END'
#!/usr/bin/env python3
import fnmatch, os, signal, sys, time
NAMES = """Sizes/ReluShim.IsTheCpus/0 Sizes/ReluShim.IsTheCpus/1 StreamShim.Skips CudnnMaxPool2d.Agrees
SpaceToDepthShim.MovesWhatTheContractSays/0 SpaceToDepthShim.ConvolutionOverBlocksIsTheStridedOne
Conv2dShim.First Conv2dShim.Second LinearShim.First Conv2dShim.OfALinearLayer LayersShim.AlexNet
EngineShim.FailsToTrain LoaderShim.MakesTheBatches NewSuite.OfNobody""".split()

def matches(name, patterns):
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns.split(":"))

chosen = dict(word.split("=", 1) for word in sys.argv if "=" in word).get("--gtest_filter", "*")
wanted, _, unwanted = chosen.partition("-")
names = [n for n in NAMES if matches(n, wanted or "*") and not (unwanted and matches(n, unwanted))]
if "--gtest_list_tests" in sys.argv:
    for name in names:
        suite, dot, test = name.partition(".")
        print(f"{suite}.\n  {test}  # GetParam() = 3")
    sys.exit(0)
if os.environ.get("STAGECOACH_REQUIRE_GPU") != "1":
    sys.exit("a GPU is not required")
failed = []
for name in names:
    print(f"[ RUN      ] {name}", flush=True)
    with open("build/ran", "a") as file:
        file.write(name + "\n")
    if os.environ.get("HANGS") == name:
        print("waiting for an event", flush=True)
        time.sleep(60)
    if os.environ.get("CRASHES") == name:
        os.kill(os.getpid(), signal.SIGSEGV)
    if os.environ.get("FAILS") == name:
        print("a_test.cpp:7: Failure\nexpected 1, got 2")
        failed.append(name)
        print(f"[  FAILED  ] {name}, where GetParam() = 3 (2 ms)")
    elif "Skips" in name:
        print(f"b_test.cpp:3: Skipped\nneeds two GPUs\n\n[  SKIPPED ] {name} (0 ms)")
    else:
        print(f"no end of line[       OK ] {name} (1 ms)", flush=True)
print("[==========] tests ran.")
for name in failed:
    print(f"[  FAILED  ] {name}, where GetParam() = 3")
sys.exit(1 if failed else 0)
END
cat >"$work/stagecoach" <<'END'
#!/usr/bin/env bash
[[ $1 != info ]] || { echo "cuda made of paper" && echo "libraries $LD_LIBRARY_PATH" && exit 0; }
while (($# > 0)); do
  [[ $1 != --report ]] || report=$2
  shift
done
echo '{"device": "cuda", "images_per_second": 1000, "step_seconds_median": 0.032, "bubble": null}' \
  >"$report"
END
cat >"$work/bench_cuda" <<'END'
#!/usr/bin/env bash
for word in "$@"; do
  [[ $word != --benchmark_out=* ]] || echo '{"benchmarks": []}' >"${word#*=}"
done
END
chmod +x "$work/gpu_test" "$work/stagecoach" "$work/bench_cuda"

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
  stand_in cmake <<END
[[ \$1 == --preset ]] && echo "\$*" >build/configured && exit 0
target=\${*: -1}
echo "\$target" >>build/targets
mkdir -p build/cuda
cp "$work/\$target" build/cuda/
END
  stand_in compute-sanitizer <<'END'
if [[ $1 == --help ]]; then echo "  --kernel-name arg"; else echo "checks: $*"; fi
END
  stand_in python-with-torch <<'END'
for setting in ${3//,/ }; do
  echo "{\"setting\": \"$setting\", \"images_per_second\": 500, \"step_seconds_median\": 0.064}"
done
END
}

run() { # sets status, output, record
  status=0
  output=$(cd "$work" && PATH=$work/toolkit/bin:$PATH LD_LIBRARY_PATH=$work/driver: \
    TORCH_PYTHON=python-with-torch STAGECOACH_COMMIT=abc123 CUDA_VISIBLE_DEVICES=0 \
    timeout 120 "$copy/scripts/gpu_check.sh" "$@" --out "$work/out" 2>&1) || status=$?
  record=$(cat "$work"/out/gpu_paper_1_*.md 2>/dev/null) || true
}

machine "all is well"
run
expect "succeeds" test "$status" = 0
expect "builds for this GPU" grep -q -- '-DCMAKE_CUDA_ARCHITECTURES=90-real' "$copy/build/configured"
expect "warnings are no errors" grep -q -- '-DSTAGECOACH_WERROR=OFF' "$copy/build/configured"
expect "GPU" matches "$record" "NVIDIA Paper 1, 132 multiprocessors, capability 9.0, 80.0 GiB"
expect "commit" matches "$record" "commit abc123"
expect "driver" matches "$record" "for CUDA 13.0"
expect "what the program says" matches "$record" "cuda made of paper"
expect "tests" matches "$record" "13 passed, 0 failed, 1 skipped, 0 stopped, 0 not reached."
expect "why skipped" matches "$record" "- skipped: StreamShim.Skips: needs two GPUs"
expect "training" matches "$record" "| 32 | Stagecoach, bf16 | 1000 | 1000 - 1000 |"
expect "PyTorch" matches "$record" "| 32 | PyTorch as used | 500 |"
expect "JSON too" python3 -c "import glob, json, sys
record = json.load(open(glob.glob(sys.argv[1] + '/gpu_paper_1_*.json')[0]))
assert record['device_properties'] == {'deviceName': 'NVIDIA Paper 1'}, record" "$work/out"
log=$(<"$copy/build/gpu_check/memcheck.log")
expect "sanitizer sees the small tests" matches "$log" "5 tests; left out"
expect "sanitizer sees own kernels only" matches "$log" \
  "--tool memcheck --error-exitcode 9 --report-api-errors no --kernel-name kernel_substring=stagecoach"
expect "and not the large ones" matches "$log" "build/cuda/gpu_test --gtest_filter=-*Engine*"
log=$(<"$copy/build/gpu_check/initcheck.log")
expect "initcheck has no such option" matches "$log" "--tool initcheck --error-exitcode 9 --kernel-name"
expect "why there is no racecheck" matches "$record" "No racecheck: it looks at shared memory"
# The order in which the groups ran, the first of each; and every test in one group.
expect "what matters most is first" test "$(grep -n . "$copy/build/ran" | grep -E \
  'ReluShim.IsTheCpus/0|StreamShim|CudnnMax|LinearShim|LayersShim|EngineShim|LoaderShim' |
  sed 's/:.*//' | xargs)" = "1 4 5 10 11 12 13"
expect "every test once" test -z "$(sort "$copy/build/ran" | uniq -d)"
expect "a convolution is not among the kernels" lacks \
  "$(<"$copy/build/gpu_check/test_kernels.log")" "ConvolutionOverBlocks"
expect "every suite of this project is of a group" python3 - "$root" <<'PYTHON'
import fnmatch
import pathlib
import re
import sys
sys.path.insert(0, sys.argv[1] + "/bench/gpu")
import test_groups

expected = {"kernels": ["Relu", "Optimizers"], "streams": ["Graph", "Buffer"], "linear": ["Linear"],
            "convolutions": ["Conv2d"], "layers": ["Layers", "AlexNetGolden"], "engine": ["Engine"],
            "program": ["Loader"]}
expected = {f"{suite}Shim": group for group, suites in expected.items() for suite in suites}
found = {}
for file in pathlib.Path(sys.argv[1], "tests/cuda").glob("*_test.cpp"):
    for suite, test in re.findall(r"^TEST(?:_[PF])?\((\w+), (\w+)\)", file.read_text(), re.M):
        for group, both in test_groups.filters().items():
            wanted, _, unwanted = both.partition("-")
            has, lacks = (any(fnmatch.fnmatchcase(f"{suite}.{test}", pattern)
                              for pattern in patterns.split(":")) for patterns in (wanted, unwanted))
            if has and not lacks:
                found.setdefault(suite, []).append(group)
for suite, group in expected.items():
    assert set(found[suite]) == {group}, (suite, found[suite])
PYTHON

# The words of a Python that warns are no commands, and no library comes from the folder a user is in.
machine "a Python that warns, a library path that ends in a colon"
stand_in python3 <<END
echo "warning: touch $work/evaluated" >&2
echo "touch $work/evaluated" >&2
exec $(command -v python3) "\$@"
END
run build
expect "succeeds" test "$status" = 0
expect "shows the warning" matches "$output" "warning: touch"
expect "does not run it" test ! -e "$work/evaluated"
libraries=$(grep -rh '^libraries ' "$copy/build/gpu_check" | head -1) || true
expect "starts programs with the path" matches "$libraries" "$work/driver"
expect "has no empty entry in it" test -z "$(grep -E ' :|::|:$' <<<"$libraries")"
rm "$work/toolkit/bin/python3"

# What an earlier part found stays in the record; another commit's does not.
machine "in parts"
run build
expect "builds all that is used" test "$(xargs <"$copy/build/targets")" = "stagecoach gpu_test bench_cuda"
expect "and runs nothing" matches "$record" "The tests were not run."
rm "$copy/build/targets"
run test
expect "tests alone" lacks "$output" "== training"
expect "builds what the tests use" test "$(xargs <"$copy/build/targets")" = "stagecoach gpu_test"
run bench
expect "bench alone" lacks "$output" "== test"
expect "builds what it uses" test "$(tail -n 1 "$copy/build/targets")" = bench_cuda
expect "both in the record" matches "$record" "13 passed, 0 failed"
run bench
expect "kernels are not measured twice" matches "$output" "== kernels: an earlier call ran them"
expect "nor is training" lacks "$(<"$copy/build/gpu_check/training.log")" "torch_step.py"
expect "which stays in the record" matches "$record" "| 32 | Stagecoach, bf16 | 1000 |"
sed -i 's/^part_seconds=.*/part_seconds=9/' "$copy/scripts/gpu_check.sh"
rm "$copy/build/gpu_check/configure.step"
run test
expect "no time is a failure" test "$status" = 1
expect "and said" matches "$record" "| configure | not run | 0 | no time was left |"
expect "and what was there stays" matches "$record" "13 passed, 0 failed"
status=0
output=$(cd "$copy" && PATH=$work/toolkit/bin:$PATH LD_LIBRARY_PATH=$work/driver \
  STAGECOACH_COMMIT=other scripts/gpu_check.sh build --out "$work/other" 2>&1) || status=$?
expect "another commit starts anew" matches "$(cat "$work"/other/*.md)" "The tests were not run."

machine "tests fail, crash and hang; the sanitizer finds something, a setting of PyTorch fails"
sed -i 's/"convolutions": (120/"convolutions": (2/' "$copy/bench/gpu/test_groups.py"
stand_in compute-sanitizer <<'END'
[[ $1 == --help ]] || exit 9
END
stand_in python-with-torch <<<'echo "{\"setting\": \"default\", \"error\": \"out of memory\"}"'
FAILS=EngineShim.FailsToTrain CRASHES=Sizes/ReluShim.IsTheCpus/1 HANGS=Conv2dShim.First run
expect "fails" test "$status" = 1
expect "counts" matches "$record" "7 passed, 1 failed, 1 skipped, 2 stopped, 3 not reached."
expect "names the test, with its output" matches "$record" "- failed: EngineShim.FailsToTrain

  \`\`\`text
  a_test.cpp:7: Failure
  expected 1, got 2
  \`\`\`"
expect "the one that crashed" matches "$record" \
  "- stopped (status 139) in: Sizes/ReluShim.IsTheCpus/1"
expect "the one that hung" matches "$record" "- stopped (time limit) in: Conv2dShim.First

  \`\`\`text
  waiting for an event"
expect "those not reached" matches "$record" \
  "- not reached: SpaceToDepthShim (1), Conv2dShim (2)"
expect "the step" matches "$record" "| test_engine | **failed** |"
expect "the other groups" matches "$record" "| test_linear | passed |"
expect "the sanitizer" matches "$record" "
findings
"
expect "goes on" matches "$record" "| 32 | Stagecoach, bf16 | 1000 |"
expect "PyTorch's failure" matches "$record" "round 1: out of memory"

machine "the build fails"
stand_in cmake <<'END'
[[ $1 == --preset ]] || exit 1
END
run
expect "fails" test "$status" = 1
expect "says so" matches "$record" "| build_stagecoach | **failed** |"
expect "says why the others did not run" matches "$output" "nothing else was run: the build failed"

machine "the tests do not build"
rm "$work/gpu_test"
run
expect "fails" test "$status" = 1
expect "says so" matches "$record" "| build_gpu_test | **failed** |"
expect "training goes on" matches "$record" "| 32 | Stagecoach, bf16 | 1000 |"

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
