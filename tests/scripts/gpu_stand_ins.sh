#!/usr/bin/env bash
# A machine with a GPU that is made up, for the tests of scripts/gpu_check.sh: its driver, libraries, tools
# and programs, in $work. Sourced; needs $root.
# shellcheck disable=SC2034  # what it sets, those that source it read
root=${root:?}
work=$(mktemp -d)
copy=$work/copy
failures=0
output='' status=0 record='' name=''

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
finish() { # finish WHAT: the test's end
  if ((failures > 0)); then
    echo "$failures checks failed"
    exit 1
  fi
  echo "$1: all checks hold"
}

# A driver with one GPU, of capability 9.0 and 132 multiprocessors; a cuDNN that knows it; a CUDA runtime
# and NCCL that have just what nccl_probe.py calls, in one library: what is captured happens at the launch.
make_libraries() {
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
  cat >"$work/cudart.c" <<'END'
#include <stdlib.h>
#include <string.h>
static const void* from; static void* to; static size_t bytes; static int capturing, in_group, held;
static void* const kThing = (void*)1;
static int move(void) { if (!from || !to || !held) return 5; memcpy(to, from, bytes); return 0; }
int cudaRuntimeGetVersion(int* version) { *version = 13000; return 0; }
const char* cudaGetErrorString(int status) { return "refused"; }
int cudaSetDevice(int device) { return device != 0; }
int cudaMalloc(void** p, size_t n) { *p = malloc(n); return *p == NULL; }
int cudaMemcpy(void* a, const void* b, size_t n, int kind) { memcpy(a, b, n); return kind != 4; }
int cudaMemset(void* a, int value, size_t n) { memset(a, value, n); return 0; }
int cudaStreamCreate(void** stream) { *stream = kThing; return 0; }
int cudaStreamSynchronize(void* stream) { return capturing; }
int cudaStreamBeginCapture(void* stream, int mode) { capturing = 1; return 0; }
int cudaStreamEndCapture(void* stream, void** graph) { *graph = kThing; capturing = 0; return 0; }
int cudaGraphInstantiate(void** instance, void* graph, unsigned long long flags) { *instance = graph; held = 1; return 0; }
int cudaGraphLaunch(void* instance, void* stream) { return move(); }
int cudaGraphExecDestroy(void* instance) { held = 0; return 0; }
int cudaGraphDestroy(void* graph) { return held; }
typedef struct { char text[128]; } Id;
int ncclGetVersion(int* version) { *version = 22809; return 0; }
const char* ncclGetErrorString(int status) { return "refused by NCCL"; }
int ncclGetUniqueId(Id* id) { strcpy(id->text, "an identity"); return 0; }
int ncclCommInitRank(void** c, int ranks, Id id, int rank) { *c = kThing; return ranks != 1 || rank != 0 || strcmp(id.text, "an identity"); }
int ncclGroupStart(void) { in_group = 1; return 0; }
int ncclSend(const void* p, size_t n, int type, int peer, void* c, void* s) { from = p; bytes = n; return !in_group; }
int ncclRecv(void* p, size_t n, int type, int peer, void* c, void* s) { to = p; return !in_group || n != bytes; }
int ncclGroupEnd(void) { in_group = 0; if (capturing) return 0; held = 1; move(); held = 0; return 0; }
int ncclCommDestroy(void* c) { return held; }  /* a graph that holds its work goes first */
END
  local compiler=${CC:-gcc} place=$work/driver
  "$compiler" -shared -fPIC -o "$place/libcuda.so.1" "$work/driver.c"
  "$compiler" -shared -fPIC -o "$place/libcudnn.so.9" "$work/cudnn.c"
  "$compiler" -shared -fPIC -o "$place/libcudart.so.13" "$work/cudart.c"
  ln -s libcudart.so.13 "$place/libnccl.so.2"
}

stand_in() { # stand_in NAME: the script on stdin
  { echo "#!/usr/bin/env bash" && cat; } >"$work/toolkit/bin/$1"
  chmod +x "$work/toolkit/bin/$1"
}

# As a GoogleTest program behaves; what a test does is in its name. Writes what ran to build/ran.
make_gpu_test() {
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
}

# What --report and --metrics get of a training that is not one; weights are of the options that decide bits.
make_stagecoach() {
  cat >"$work/stagecoach" <<'END'
#!/usr/bin/env python3
import json, os, sys, time
if sys.argv[1] == "info":
    print("cuda made of paper\nlibraries", os.environ["LD_LIBRARY_PATH"])
    sys.exit(0)
words = sys.argv[2:]
def value(option, otherwise=None):
    return words[words.index(option) + 1] if option in words else otherwise
if os.environ.get("TRAINING_HANGS"):
    time.sleep(600)
eager, other = "--eager" in words, value("--stages") == os.environ.get("OTHER_BITS", "none")
report = {"device": "cuda", "launch": "eager" if eager else "graph", "precision": value("--precision"),
          "loss_first": 2.3, "loss_last": 2.1, "bubble": None, "stages": [], "data": "CIFAR-10 (a folder)",
          "memory": [{"planned_bytes": 800 << 20}], "loader_bytes": 40 << 20, "steps": 4,
          "micro_batches": 4, "micro_batch_size": 32, "pipeline_stages": 2, "total_seconds": 3.5,
          "training_accuracy_first": 0.1, "training_accuracy_last": 0.4, "accuracy": 0.375,
          "test_samples": 1000}
if value("--report"):
    json.dump(report, open(value("--report"), "w"))
if value("--metrics"):
    with open(value("--metrics"), "w") as file:
        for step in range(1, 5):
            file.write(json.dumps({"step": step, "loss": 2.3, "images_per_second": 1000}) + "\n")
if value("--save"):
    with open(value("--save"), "w") as file:
        file.write("other" if other else "weights")
END
}

make_programs() {
  make_gpu_test
  make_stagecoach
  cat >"$work/bench_cuda" <<'END'
#!/usr/bin/env bash
for word in "$@"; do
  [[ $word != --benchmark_out=* ]] || echo '{"benchmarks": []}' >"${word#*=}"
done
END
  chmod +x "$work/gpu_test" "$work/stagecoach" "$work/bench_cuda"
}

# nvidia-smi says that memory is in use while something trains ($copy/build/trains).
make_nvidia_smi() {
  stand_in nvidia-smi <<END
for word in "\$@"; do [[ \$word != --query-gpu=* ]] || fields=\${word#*=}; done
used=500 answer=
[[ ! -e $copy/build/trains ]] || used=4500
for field in \${fields//,/ }; do
  case \$field in
    memory.used) value=\$used ;;
    clocks.sm) value=1980 ;;
    clocks.mem) value=2619 ;;
    power.draw) value=651.2 ;;
    temperature.gpu) value=61 ;;
    clocks_event_reasons.active) value=0x0000000000000004 ;;
    driver_version) value=580.1 ;;
    *) value='[N/A]' ;;
  esac
  answer+=\${answer:+, }\$value
done
echo "\$answer"
END
}

make_tools() {
  stand_in nvcc <<<'printf "release 13.0\nBuild made up\n"'
  stand_in g++ <<<'cat >/dev/null'
  stand_in ninja </dev/null
  stand_in cmake <<END
[[ \$1 == --preset ]] && echo "\$*" >build/configured && exit 0
result=0 wanted=
for word in "\$@"; do
  case \$word in
    --target) wanted=1 ;;
    --) break ;;
    *)
      [[ -n \$wanted ]] || continue
      echo "\$word" >>build/targets
      mkdir -p build/cuda
      cp "$work/\$word" build/cuda/ || result=1
      ;;
  esac
done
exit \$result
END
  stand_in compute-sanitizer <<'END'
[[ $1 != --help ]] || { echo "  --kernel-name arg" && exit 0; }
echo "checks: $*"
while [[ $1 == --* ]]; do shift 2; done
exec "$@"
END
  stand_in ncu <<'END'
while [[ $1 == --* ]]; do
  case $1 in
    --csv) shift ;;
    *) shift 2 ;;
  esac
done
"$@"
echo '==PROF== Disconnected from process 7'
echo '"ID","Process ID","Kernel Name","Metric Name","Metric Unit","Metric Value"'
for id in 0 1; do
  echo "\"$id\",\"7\",\"stagecoach::pool(float*)\",\"gpu__time_duration.sum\",\"ns\",\"2,000\""
  echo "\"$id\",\"7\",\"stagecoach::pool(float*)\",\"dram__bytes_read.sum\",\"byte\",\"3,000,000\""
  echo "\"$id\",\"7\",\"stagecoach::pool(float*)\",\"dram__bytes_write.sum\",\"byte\",\"1,000,000\""
  echo "\"$id\",\"7\",\"stagecoach::pool(float*)\",\"smsp__issue_active.avg.pct_of_peak_sustained_active\",\"%\",\"42\""
done
END
  stand_in python-with-torch <<'END'
if [[ $1 == *first_steps.py ]]; then
  while (($# > 0)); do
    [[ $1 != --output ]] || output=$2
    shift
  done
  echo '{"command": "first_steps", "stagecoach": [2.3, 2.2], "torch": [2.3, 2.25]}' >"$output.json"
  exit
fi
for setting in ${3//,/ }; do
  echo "{\"setting\": \"$setting\", \"images_per_second\": 500, \"step_seconds_median\": 0.064}"
done
END
}

# machine NAME: a bare one, where everything is there and works; what went before is forgotten.
machine() {
  name=$1
  rm -rf "$copy" "$work/out"
  mkdir -p "$copy/bench"
  cp -r "$root/scripts" "$copy/"
  cp -r "$root/bench/gpu" "$root/bench/peers" "$copy/bench/"
  make_tools
  make_nvidia_smi
  mkdir -p "$copy/build/images"
}

run() { # sets status, output, record
  status=0
  output=$(cd "$work" && PATH=$work/toolkit/bin:$PATH LD_LIBRARY_PATH=$work/driver: \
    TORCH_PYTHON=python-with-torch CUDA_VISIBLE_DEVICES=0 \
    timeout 250 "${inside[@]}" "$copy/scripts/gpu_check.sh" "$@" --out "$work/out" 2>&1) || status=$?
  record=$(cat "$work"/out/gpu_paper_1_*.md 2>/dev/null) || true
}
inside=(env)
