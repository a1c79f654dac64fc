#!/usr/bin/env bash
# bench/gpu/: the roofline against known figures, and run.py with a program and a PyTorch that are
# made up, so that neither a GPU nor PyTorch is needed.
set -euo pipefail
root=$(cd -P "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
if ! command -v python3 >/dev/null; then
  echo "python3 is not installed: bench/gpu cannot be used here, nor tested"
  exit 77
fi

fail() {
  echo "bench/gpu: $*" >&2
  exit 1
}
has() { # has FILE TEXT
  grep -qF -- "$2" "$1" || fail "$1 lacks: $2"$'\n'"$(<"$1")"
}

python3 - "$root" <<'PYTHON'
import sys
sys.path.insert(0, sys.argv[1] + "/bench/gpu")
import roofline

# Milliseconds of a step, worked out by hand from the same model.
known = {(32, "bf16"): 0.759, (128, "bf16"): 1.345, (512, "bf16"): 3.744, (1024, "bf16"): 7.051,
         (32, "tf32"): 0.984, (1024, "tf32"): 13.46, (32, "fp32"): 2.696, (1024, "fp32"): 72.99}
for (batch, precision), expected in known.items():
    got = 1e3 * roofline.ideal_seconds(batch, precision)
    assert abs(got / expected - 1) < 0.01, (batch, precision, expected, got)
layers = roofline.layer_seconds(128, "bf16")
for layer, expected in {"conv1": 121, "conv2": 262, "fc1": 107, "optimizer": 418}.items():
    assert abs(1e6 * layers[layer] / expected - 1) < 0.02, (layer, expected, layers[layer])
PYTHON

# 1000 images/s in bf16, 500 in tf32; an eager step takes twice as long; --tune is refused; fp32
# runs on the CPU, which must not pass for a GPU.
cat >"$work/stagecoach" <<'END'
#!/usr/bin/env bash
set -euo pipefail
given=" $* "
[[ $given != *" --tune "* ]] || { echo "stagecoach: there is no option --tune" >&2 && exit 2; }
device=cuda rate=1000 bubble=null report='' metrics='' launch=graph precision=bf16
case $given in
  *" tf32 "*) rate=500 precision=tf32 ;;
  *" fp32 "*) device=cpu precision=fp32 ;;
esac
[[ $given != *" --eager "* ]] || { rate=$((rate / 2)) && launch=eager; }
[[ $given != *" --fixed-batch "* ]] || rate=1250
[[ $given != *" --overlap "* ]] || rate=1100
[[ $given == *" --stages 0 "* ]] || bubble='{"measured": 0.25, "predicted": 0.2, "formula": 0.125}'
while (($# > 0)); do
  [[ $1 != --report ]] || report=$2
  [[ $1 != --metrics ]] || metrics=$2
  shift
done
# Half a second of steps at a fifth of the rate, which does not count, then at the rate.
for ((step = 0; step < 20; ++step)); do
  echo "{\"step\": $step, \"images_per_second\": $((step < 4 ? rate / 32 : rate))}"
done >"$metrics"
cat >"$report" <<JSON
{"device": "$device", "precision": "$precision", "launch": "$launch", "loss_last": 2.3,
 "bubble": $bubble, "stages": [], "memory": [], "data_waits": 0}
JSON
END
# PyTorch as used: 250 images/s; its best bf16: 800; one setting fails.
cat >"$work/python" <<'END'
#!/usr/bin/env bash
cat <<JSON
{"setting": "default", "batch": 32, "images_per_second": 250, "step_seconds_median": 0.128}
{"setting": "bf16", "batch": 32, "images_per_second": 400, "step_seconds_median": 0.08}
{"setting": "bf16-graph", "batch": 32, "images_per_second": 800, "step_seconds_median": 0.04}
{"setting": "bf16-graph-images", "batch": 32, "images_per_second": 640, "step_seconds_median": 0.05}
{"setting": "bf16-compile", "batch": 32, "error": "RuntimeError: no compiler"}
JSON
END
chmod +x "$work/stagecoach" "$work/python"

run() { # sets status; the tables are in $work/output
  status=0
  python3 "$root/bench/gpu/run.py" --stagecoach "$work/stagecoach" --torch-python "$work/python" \
    --batches 32 --seconds 4 --output "$work/result" "$@" >"$work/output" 2>&1 || status=$?
}
shows() { has "$work/output" "$1"; }

run --rounds 2
[[ $status == 0 ]] || fail "all runs succeed, but the exit status is $status: $(<"$work/output")"
# images/s, range, ms, share of the roofline (0.760 ms), ratios to 250 and to 800 images/s.
shows '| 32 | Stagecoach, bf16 | 1000 | 1000 - 1000 | 32.000 | 2% | 4.00 | 1.25 |'
shows '| 32 | Stagecoach, bf16 --eager | 500 | 500 - 500 | 64.000 | 1% | 2.00 | 0.62 |'
shows '| 32 | Stagecoach, bf16 --fixed-batch | 1250 | 1250 - 1250 | 25.600 | 3% | 5.00 | 1.56 |'
shows '| 32 | PyTorch as used | 250 | 250 - 250 | 128.000 | - | 1.00 | - |'
shows '| 32 | PyTorch, bf16, tuned, CUDA graph, with resizing | 640 | 640 - 640 | 50.000 | 2% | 2.56 | 0.80 |'
shows '| plain loop | 8 x 16 | 1000 | 128.000 | - | - | - |'
shows '- Run: a captured step against an eager one (images/s, bf16): batch 32: 2.00'
shows "- Run: a step without the loader's work against one with it (images/s, bf16): batch 32: 1.25"
has "$work/result.json" '"command": "stagecoach train --data synthetic --device cuda --precision bf16'

ran() { grep '^round ' "$work/output" || true; }
# Another call goes on where one was stopped, and runs nothing twice.
python3 - "$work/result.json" <<'PYTHON'
import json
import sys
record = json.load(open(sys.argv[1]))
record["runs"] = [run for run in record["runs"] if (run["round"], run["setting"]) not in (
    (1, "bf16-graph"), (2, "bf16 --eager"))]
json.dump(record, open(sys.argv[1], "w"))
PYTHON
run --rounds 2 --continue
[[ $(grep -c '^round ' "$work/output") == 2 ]] || fail "ran $(ran)"
shows 'round 1: '
has <(grep '^round 1' "$work/output") 'torch_step.py --settings bf16-graph --batch 32'
has <(grep '^round 2' "$work/output") ' --eager --quiet'
shows 'rounds: 2. AlexNet'
run --rounds 2 --continue
[[ $(grep -c '^round ' "$work/output") == 0 ]] || fail "ran $(ran)"

run --plan more --rounds 1
[[ $status == 1 ]] || fail "failed runs must show in the exit status, got $status"
shows '| 32 | Stagecoach, tf32 | 500 | 500 - 500 | 64.000 | 2% | - | - |'
shows '| 32 | Stagecoach, fp32 | - | - | - | - | - | - |'
shows '| 2 | 8 x 32 | 1000 | 256.000 | 25.0% | 20.0% | 12.5% |'
shows '| plain loop | 8 x 32 | 1000 | 256.000 | - | - | - |'
shows 'round 1: exit status 2: stagecoach: there is no option --tune'
shows 'Stagecoach, fp32, batch 32, 0 stages, round 1: ran on cpu, not on a GPU'
shows 'torch.compile, batch 32, 0 stages, round 1: RuntimeError: no compiler'
shows '- Not run: algorithms timed by --tune'
shows '| 1 | 1 x 32 | 1000 |'
shows '| 1, --overlap | 1 x 32 | 1100 |'
shows '- Run: the optimizer beside W against behind it (images/s, bf16, one stage): batch 32: 1.10'

# Out of time: said, not left out.
run --rounds 1 --time-limit 5
[[ $status == 1 ]] || fail "nothing measured must show in the exit status, got $status"
shows '- Not run in round 1, as the time limit came first: PyTorch, bf16, tuned, CUDA graph, batch 32'
shows '; Stagecoach, bf16 --eager, batch 32, 0 stages; '

python3 - "$root" <<'PYTHON'
import sys
sys.path.insert(0, sys.argv[1] + "/bench/gpu")
import clocks
import profile_step
import training
from run import Torch, step_plan

# What is most worth knowing comes first.
shown = [(job.batch, job.settings[0]) if isinstance(job, Torch) else
         (job.batch, *job.options, job.micro_batches) for job in step_plan([128, 1024])]
assert shown == [
    (128, "bf16-graph"), (128, 1), (128, "--fixed-batch", 1), (128, "--eager", 1),
    (1024, "bf16-graph"), (1024, 1), (1024, "--fixed-batch", 1), (1024, "--eager", 1),
    (16, 8), (32, 8)], shown

# The first second does not count; of a run that is shorter, the first half.
lines = [{"images_per_second": rate} for rate in [10] * 6 + [100] * 10]
assert training.steady(lines, 2, 1.0) == [0.2] + [0.02] * 10, training.steady(lines, 2, 1.0)
assert len(training.steady(lines, 0.01, 1.0)) == 8
assert len(training.steady(lines[:1], 2, 1.0)) == 1

# ncu's table behind what the program prints: lines of units, cut lines and unknown counters are left out.
table = """memory of stage 0
==PROF== Profiling
"ID","Kernel Name","Metric Name","Metric Unit","Metric Value"
"0","k(int)","gpu__time_duration.sum","us","3"
"0","k(int)","dram__bytes_read.sum","Mbyte","1,500"
"1","k(int)","gpu__time_duration.sum","ns","1,000"
"1","k(int)","smsp__issue_active.avg.pct_of_peak_sustained_active","%","20"
"1","k(int)","dram__bytes_write.sum","byte","n/a"
"2","other","gpu__time_du"""
found = profile_step.kernels_of(table)
assert list(found) == ["k(int)"], found
row = profile_step.summary("k(int)", list(found["k(int)"].values()))
assert abs(row["seconds"] - 4e-6) < 1e-12 and row["read_bytes"] == 1.5e9 and row["launches"] == 2, row
assert row["issue_percent"] == 20 and row["occupancy_percent"] is None, row

watch = clocks.Watch()
watch.samples = [{"sm_mhz": 345, "watts": 70, "memory_mib": 500}, {"sm_mhz": 1800, "watts": None},
                 {"sm_mhz": 1980, "watts": 650, "memory_mib": 4500}]
assert watch.busiest()["sm_mhz"] == 1980 and watch.most("memory_mib") == 4500
PYTHON

# A PyTorch that the time limit stops, or that dies, loses what it had not printed, and no more.
for end in 'exec sleep 60' 'echo "Segmentation fault" >&2; exit 139'; do
  cat >"$work/python" <<END
#!/usr/bin/env bash
echo '{"setting": "bf16-graph", "batch": 32, "images_per_second": 800, "step_seconds_median": 0.04}'
printf '{"setting": "bf16", "bat'
$end
END
  run --rounds 3 --time-limit 11
  shows '| 32 | PyTorch, bf16, tuned, CUDA graph | 800 |'
  if [[ $end == exec* ]]; then
    [[ $status == 0 ]] || fail "a time limit is not a failure, got $status"
    shows 'rounds: 1, the last one not complete.'
    shows 'as the time limit came first: PyTorch, bf16, tuned, CUDA graph, with resizing, batch 32'
  else
    shows 'PyTorch, bf16, tuned, batch 32, 0 stages, round 1: exit status 139: Segment'
  fi
done

# A PyTorch that does not start costs only itself.
printf '#!/usr/bin/env bash\necho "ModuleNotFoundError: torch" >&2\nexit 1\n' >"$work/python"
run --rounds 1
shows 'PyTorch as used, batch 32, 0 stages, round 1: exit status 1: ModuleNotFoundError'
shows '| 32 | Stagecoach, bf16 | 1000 |'

python3 - "$root" <<'PYTHON'
import sys
sys.path.insert(0, sys.argv[1] + "/bench/gpu")
import tables

text = tables.kernels({"benchmarks": [
    {"name": "sgd/bf16/batch:32/manual_time", "real_time": 0.5, "time_unit": "ms", "iterations": 3,
     "GB/s": 2400.0},
    {"name": "conv2/F/tf32/batch:32/manual_time", "real_time": 20.0, "time_unit": "us",
     "GB/s": 300.0, "TFLOP/s": 100.0},
    {"name": "broken", "error_occurred": True, "error_message": "no memory"}]})
assert "| sgd/bf16/batch:32/manual_time | 500.0 | 2400 GB/s | 80% |" in text, text
assert "manual_time | 20.0 | 300 GB/s, 100 TFLOP/s | 25% |" in text, text
assert "| broken | - | no memory | - |" in text, text
PYTHON

# The record holds what is in the kernels.json of its folder: of a program that ended, of one that
# was stopped, and of one that wrote nothing.
mkdir "$work/state"
python3 - "$root" "$work/state" <<'PYTHON'
import json
import pathlib
import sys
sys.path.insert(0, sys.argv[1] + "/bench/gpu")
import record

state = pathlib.Path(sys.argv[2])


def text():
    return record.markdown(record.make_record(state, "bench-more"))


def entry(name, microseconds):
    return {"name": f"{name}/batch:128/iterations:20/manual_time", "real_time": microseconds,
            "time_unit": "us"}


FIRST = "| conv4/B/bf16/batch:128/iterations:20/manual_time | 1.0 |"
SECOND = "| conv4/W/bf16/batch:128/iterations:20/manual_time | 2.0 |"
whole = json.dumps({"context": {"caches": [{}]}, "benchmarks": [
    entry("conv4/B/bf16", 1.0), entry("conv4/W/bf16", 2.0)]}, indent=2)
(state / "kernels.json").write_text(whole)
assert FIRST in text() and SECOND in text(), text()
(state / "kernels.json").write_text(whole[:whole.index("conv4/W") + 10])
assert FIRST in text() and SECOND not in text(), text()
for left in ('{"context": {"caches": [{}]},\n"benchmarks": [\n', ""):
    (state / "kernels.json").write_text(left)
    assert "manual_time" not in text(), text()
(state / "kernels.json").unlink()
assert "manual_time" not in text(), text()
PYTHON
echo "bench/gpu: all checks hold"
