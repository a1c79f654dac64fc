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
device=cuda rate=1000 bubble=null report=
case $given in
  *" tf32 "*) rate=500 ;;
  *" fp32 "*) device=cpu ;;
esac
[[ $given != *" --eager "* ]] || rate=$((rate / 2))
[[ $given == *" --stages 0 "* ]] || bubble='{"measured": 0.25, "predicted": 0.2, "formula": 0.125}'
while (($# > 0)); do
  [[ $1 != --report ]] || report=$2
  shift
done
cat >"$report" <<JSON
{"device": "$device", "images_per_second": $rate, "step_seconds_median": 0.032, "loss_last": 2.3,
 "bubble": $bubble, "stages": [], "memory": [], "steps": 20, "data_waits": 0}
JSON
END
# PyTorch as used: 250 images/s; its best bf16: 800; one setting fails.
cat >"$work/python" <<'END'
#!/usr/bin/env bash
cat <<JSON
{"setting": "default", "batch": 32, "images_per_second": 250, "step_seconds_median": 0.128}
{"setting": "bf16", "batch": 32, "images_per_second": 400, "step_seconds_median": 0.08}
{"setting": "bf16-graph", "batch": 32, "images_per_second": 800, "step_seconds_median": 0.04}
{"setting": "bf16-compile", "batch": 32, "error": "RuntimeError: no compiler"}
JSON
END
chmod +x "$work/stagecoach" "$work/python"

run() { # sets status
  status=0
  python3 "$root/bench/gpu/run.py" --stagecoach "$work/stagecoach" --torch-python "$work/python" \
    --torch-settings default,bf16,bf16-graph,bf16-compile --batches 32 --output "$work/result" \
    "$@" >"$work/output" 2>&1 || status=$?
}

run --rounds 2
[[ $status == 1 ]] || fail "failed runs must show in the exit status, got $status"
# images/s, range, ms, share of the roofline (0.760 ms), ratios to 250 and to 800 images/s.
has "$work/result.md" \
  '| 32 | Stagecoach, bf16 | 1000 | 1000 - 1000 | 32.000 | 2% | 4.00 | 1.25 |'
has "$work/result.md" '| 32 | Stagecoach, bf16 --eager | 500 | 500 - 500 | 32.000 | 2% | 2.00 | 0.62 |'
has "$work/result.md" '| 32 | Stagecoach, tf32 | 500 | 500 - 500 | 32.000 | 3% | 2.00 | - |'
has "$work/result.md" '| 32 | Stagecoach, fp32 | - | - | - | - | - | - |'
has "$work/result.md" '| 32 | PyTorch as used | 250 | 250 - 250 | 128.000 | - | 1.00 | - |'
has "$work/result.md" '| 2 | 8 x 32 | 1000 | 32.000 | 25.0% | 20.0% | 12.5% |'
has "$work/result.md" '| plain loop | 8 x 32 | 1000 | 32.000 | - | - | - |'
has "$work/result.md" 'round 1: exit status 2: stagecoach: there is no option --tune'
has "$work/result.md" 'Stagecoach, fp32, batch 32, 0 stages, round 1: ran on cpu, not on a GPU'
has "$work/result.md" 'torch.compile, batch 32, 0 stages, round 2: RuntimeError: no compiler'
has "$work/result.md" '- Run: a captured step against an eager one (images/s, bf16): batch 32: 2.00'
has "$work/result.md" '- Not run: algorithms timed by --tune'
has "$work/result.json" '"command": "stagecoach train --data synthetic --device cuda --precision bf16'

# What is most worth knowing comes first.
python3 - "$root" <<'PYTHON'
import sys
sys.path.insert(0, sys.argv[1] + "/bench/gpu")
from run import Torch, plan

shown = []
for job in plan([128, 1024, 32, 512], ["default", "bf16-compile", "bf16-graph"]):
    if isinstance(job, Torch):
        shown.append((job.batch, *job.settings))
    elif job.micro_batches > 1:
        shown.append(f"K={job.stages} {job.micro_batches} x {job.batch}")
    elif shown[-1] != (job.batch, *job.options):
        shown.append((job.batch, *job.options))
torch = ("default", "bf16-graph")
expected = [
    (128, *torch), (128,), (128, "--eager"), (1024, *torch), (1024,), (1024, "--eager"),
    "K=0 8 x 32", "K=2 8 x 32", "K=4 8 x 32",
    (32, *torch), (32,), (32, "--eager"), (512, *torch), (512,), (512, "--eager"),
    *((batch, "--tune") for batch in (128, 1024, 32, 512)),
    *((batch, "bf16-compile") for batch in (128, 1024, 32, 512))]
assert shown == expected, shown
assert not any(job.facts() for job in plan([32], []) if isinstance(job, Torch))
PYTHON

ran() { grep '^round ' "$work/output" | sed 's/--report.*//; s/:.*\(torch_step\|train\)/:/'; }
shows() { # shows LINES: of what ran
  [[ $(ran | sed 's/ *$//') == "$1" ]] || fail "ran $(ran), not $1"
}

# Another call goes on where one was stopped, and runs nothing twice, not even what failed.
python3 - "$work/result.json" <<'PYTHON'
import json
import sys
record = json.load(open(sys.argv[1]))
record["runs"] = [run for run in record["runs"] if (run["round"], run["program"], run["setting"]) not in (
    (1, "torch", "bf16"), (2, "stagecoach", "fp32 --eager"), (2, "torch", "bf16-compile"))]
json.dump(record, open(sys.argv[1], "w"))
PYTHON
run --rounds 2 --continue
shows 'round 1:.py --settings bf16 --batch 32
round 2: --data synthetic --device cuda --precision fp32 --optimizer sgd --stages 0 --micro-batches 1 --micro-batch-size 32 --steps 100 --eager --quiet
round 2:.py --settings bf16-compile --batch 32'
has "$work/result.md" 'rounds: 2. AlexNet'
has "$work/result.md" '| 32 | PyTorch as used | 250 | 250 - 250 | 128.000 | - | 1.00 | - |'
run --rounds 2 --continue
shows ''
STAGECOACH_COMMIT=other run --rounds 2 --continue
[[ $status == 1 ]] || fail "figures of two commits must not be mixed"
has "$work/output" 'not of other: remove it, or give another --output'

# Out of time: said, not left out.
run --rounds 1 --time-limit 5
[[ $status == 1 ]] || fail "nothing measured must show in the exit status, got $status"
has "$work/result.md" '- Not run in round 1, as the time limit came first: PyTorch as used, batch 32'
has "$work/result.md" '; Stagecoach, bf16 --tune, batch 32, 0 stages; '

# A PyTorch that the time limit stops, or that dies, loses what it had not printed, and no more.
for end in 'exec sleep 60' 'echo "Segmentation fault" >&2; exit 139'; do
  cat >"$work/python" <<END
#!/usr/bin/env bash
echo '{"setting": "default", "batch": 32, "images_per_second": 250, "step_seconds_median": 0.128}'
printf '{"setting": "bf16", "bat'
$end
END
  run --rounds 3 --time-limit 11
  has "$work/result.md" '| 32 | PyTorch as used | 250 |'
  if [[ $end == exec* ]]; then
    [[ $status == 0 ]] || fail "a time limit is not a failure, got $status"
    has "$work/result.md" 'rounds: 1, the last one not complete.'
    has "$work/result.md" 'as the time limit came first: PyTorch, bf16, tuned, batch 32, 0 stages; '
  else
    has "$work/result.md" 'PyTorch, bf16, tuned, batch 32, 0 stages, round 1: exit status 139: Segment'
  fi
done

# A PyTorch that does not start costs only itself.
printf '#!/usr/bin/env bash\necho "ModuleNotFoundError: torch" >&2\nexit 1\n' >"$work/python"
run --rounds 1
has "$work/result.md" 'PyTorch as used, batch 32, 0 stages, round 1: exit status 1: ModuleNotFoundError'
has "$work/result.md" '| 32 | Stagecoach, bf16 | 1000 |'

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
    return record.markdown(record.make_record(state))


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
