#!/usr/bin/env bash
# scripts/gpu_check.sh: on this machine with its GPU hidden, if it has one; and on a machine that is made
# up, where things fail, hang, crash, are missing, and where the call is ended. What its three calls do
# where all is well: gpu_day_test.sh.
set -euo pipefail
root=$(cd -P "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
if ! command -v python3 >/dev/null; then
  echo "python3 is not installed: scripts/gpu_check.sh cannot be used here, nor tested"
  exit 77
fi
# shellcheck source=tests/scripts/gpu_stand_ins.sh
source "$root/tests/scripts/gpu_stand_ins.sh"
trap 'rm -rf "$work"' EXIT
export STAGECOACH_COMMIT=abc123 GPU_CHECK_RUN_SECONDS=0.01 GPU_CHECK_BATCHES=32 GPU_CHECK_ROUNDS=1 GPU_CHECK_STAGES=0,2

name="no GPU"
output=$(CUDA_VISIBLE_DEVICES='' timeout 30 "$root/scripts/gpu_check.sh" build-test --out "$work/none" 2>&1) ||
  status=$?
expect "exit status 3" test "$status" = 3
expect "one line" test "$(wc -l <<<"$output")" = 1
expect "that says so" matches "$output" "gpu_check: no GPU here: "
expect "nothing is written" test ! -e "$work/none"

name="limits"
for call in build-test bench-step bench-more; do
  output=$("$root/scripts/gpu_check.sh" "$call" --list)
  expect "those of $call fill a call, and no more" test \
    "$(awk -F '\t' '{ sum += $2 } END { print sum }' <<<"$output")" = 585
done

name="groups"
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

make_libraries
make_programs

# The words of a Python that warns are no commands, and no library comes from the folder a user is in.
machine "a Python that warns, a library path that ends in a colon"
stand_in python3 <<END
echo "warning: touch $work/evaluated" >&2
echo "touch $work/evaluated" >&2
exec $(command -v python3) "\$@"
END
run build-test
expect "succeeds" test "$status" = 0
expect "shows the warning" matches "$output" "warning: touch"
expect "does not run it" test ! -e "$work/evaluated"
libraries=$(grep -rh '^libraries ' "$copy/build/gpu_check" | head -1) || true
expect "starts programs with the path" matches "$libraries" "$work/driver"
expect "has no empty entry in it" test -z "$(grep -E ' :|::|:$' <<<"$libraries")"
log=$(<"$copy/build/gpu_check/memcheck.log")
expect "sanitizer sees the small tests" matches "$log" "5 tests; left out"
expect "sanitizer sees own kernels only" matches "$log" \
  "--tool memcheck --error-exitcode 9 --report-api-errors no --kernel-name kernel_substring=stagecoach"
expect "and not the large ones" matches "$log" "build/cuda/gpu_test --gtest_filter=-*Engine*"
expect "a convolution is not among the kernels" lacks \
  "$(<"$copy/build/gpu_check/test_kernels.log")" "ConvolutionOverBlocks"
rm "$work/toolkit/bin/python3"

machine "tests fail, crash and hang; the sanitizer finds something"
sed -i 's/"convolutions": (45/"convolutions": (5/' "$copy/bench/gpu/test_groups.py"
# shellcheck disable=SC2016  # the script's own words
sed -i 's/most:-$((2 \* limit))/most:-5/g' "$copy/scripts/gpu_check.sh"
stand_in compute-sanitizer <<'END'
[[ $1 == --help ]] || exit 9
END
FAILS=EngineShim.FailsToTrain CRASHES=Sizes/ReluShim.IsTheCpus/1 HANGS=Conv2dShim.First run build-test
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
expect "why skipped" matches "$record" "- skipped: StreamShim.Skips: needs two GPUs"

machine "the tests do not build, and there is no sanitizer"
rm "$work/gpu_test" "$work/toolkit/bin/compute-sanitizer"
run build-test
expect "fails" test "$status" = 1
expect "says so" matches "$record" "| build | **failed** |"
expect "why the tests did not run" matches "$record" "| tests | not run | 0 | gpu_test was not built |"
expect "why nothing was sanitized" matches "$record" \
  "| memcheck_train | not run | 0 | compute-sanitizer is not on PATH |"
make_programs

machine "other bits, a setting of PyTorch that fails, no Nsight Compute"
stand_in python-with-torch <<<'echo "{\"setting\": \"default\", \"error\": \"out of memory\"}"'
rm "$work/toolkit/bin/ncu"
OTHER_BITS=2 run bench-step
expect "fails" test "$status" = 1
expect "the step" matches "$record" "| same_bits | **failed** |"
expect "says how many" matches "$record" "Different weights: 2."
expect "PyTorch's failure" matches "$record" "round 1: out of memory"
expect "ours all the same" matches "$record" "| 32 | Stagecoach, bf16 | 1000 |"
if ! command -v ncu >/dev/null; then
  expect "why no kernels" matches "$record" "| profile | not run | 0 | ncu is not on PATH"
fi

machine "no images, no NCCL"
rm -r "$copy/build/images" "$work/driver/libnccl.so.2"
run bench-more
expect "why no epochs" matches "$record" "| epochs | not run | 0 | there is no build/images.tar.gz"
ln -s libcudart.so.13 "$work/driver/libnccl.so.2"

machine "the build fails"
stand_in cmake <<'END'
[[ $1 == --preset ]] || exit 1
END
run bench-step
expect "fails" test "$status" = 1
expect "says so" matches "$record" "| build | **failed** |"
expect "says why the others did not run" matches "$record" \
  "| training | not run | 0 | stagecoach was not built |"

machine "headers are missing"
stand_in g++ <<<'cat >/dev/null; echo fmt/format.h'
run build-test
expect "exit status 2" test "$status" = 2
expect "names them" matches "$output" "no package here has: fmt/format.h"
expect "says what to do" matches "$output" "scripts/pack_gpu_day.sh"

# Ended in the middle of a step: by a signal that can be answered, and by one that cannot.
at_work() { # processes that work in the copy
  local process
  for process in /proc/[0-9]*; do
    if [[ $(readlink "$process/cwd" 2>/dev/null) == "$copy"* ]]; then echo "${process#/proc/}"; fi
  done
}
for signal in TERM KILL; do
  machine "ended by $signal"
  sed -i 's/^refresh_seconds=.*/refresh_seconds=1/' "$copy/scripts/gpu_check.sh"
  inside=(setsid bash -c "echo \$\$ >$work/pid; exec \"\$0\" \"\$@\"")
  TRAINING_HANGS=1 run bench-step &
  runner=$!
  written="$work/out/gpu_paper_1_$(date -u +%F)_bench-step.md"
  for _ in {1..300}; do
    if grep -q '| training | not ended |' "$written" 2>/dev/null; then break; fi
    sleep 0.1
  done
  if [[ $signal == TERM ]]; then rm "$written"; fi  # only its own answer can bring it back
  begin=$SECONDS
  if [[ $signal == TERM ]]; then kill -TERM "$(<"$work/pid")"; else kill -KILL -- "-$(<"$work/pid")"; fi
  wait "$runner" || true
  expect "long before the training would end" test $((SECONDS - begin)) -lt 300
  output=$(cat "$written" 2>/dev/null) || true
  expect "the record is there" matches "$output" "| training | not ended |"
  expect "with what went before" matches "$output" "| info | passed |"
  for _ in {1..50}; do
    left=$(at_work)
    if [[ -z $left || $signal == KILL ]]; then break; fi
    sleep 0.1
  done
  if [[ $signal == TERM ]]; then expect "nothing still runs" test -z "$left"; fi
  if [[ -n $left ]]; then xargs kill -KILL <<<"$left" 2>/dev/null || true; fi
  inside=(env)
done

name="unknown call"
run everything
expect "usage error" test "$status" = 2
run --help
expect "help succeeds" test "$status" = 0
expect "help is help" matches "$output" "usage: scripts/gpu_check.sh"

finish gpu_check
