#!/usr/bin/env bash
# bench/peers/run_peers.py with a program, peers and mpirun that are made up, so that PyTorch is not needed.
set -euo pipefail
root=$(cd -P "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
if ! command -v python3 >/dev/null; then
  echo "python3 is not installed: bench/peers cannot be used here, nor tested"
  exit 77
fi

fail() {
  echo "bench/peers: $*" >&2
  exit 1
}
has() { # has FILE TEXT
  grep -qF -- "$2" "$1" || fail "$1 lacks: $2"$'\n'"$(<"$1")"
}

mkdir -p "$work/bench" "$work/bin"
cp -r "$root/bench/peers" "$work/bench/"
# 10 images/s for a pipeline, 20 for DDP; DeepSpeed fails.
for script in torch_pipeline:10 torch_ddp:20; do
  cat >"$work/bench/peers/${script%:*}.py" <<END
import json, os
assert os.environ["ONEDNN_MAX_CPU_ISA"] == "AVX2" and "OMP_NUM_THREADS" not in os.environ
print(json.dumps({"images_per_second": ${script#*:}, "step_seconds_median": 64 / ${script#*:},
                  "peak_rss_mib": [100, 200]}))
END
done
echo 'raise SystemExit("no DeepSpeed")' >"$work/bench/peers/deepspeed_pipeline.py"
# Two steps to get warm, one slow, two at 30 images/s; only when held to AVX2, and started as two.
cat >"$work/stagecoach" <<'END'
#!/usr/bin/env bash
set -euo pipefail
[[ $STARTED == 2 && $STAGECOACH_SIMD == avx2 && " $* " == *" --steps 5 "* ]]
while (($# > 0)); do
  case $1 in
    --report)
      cat >"$2" <<JSON
{"images_per_second": 16, "step_seconds_median": 4, "data_waits": 0, "partition": "time (cut at layer 7)",
 "bubble": {"measured": 0.2, "predicted": 0.1, "measured_makespan_seconds": 3, "predicted_makespan_seconds": 2}}
JSON
      ;;
    --metrics) printf '{"images_per_second": %d}\n' 1 1 8 30 30 >"$2" ;;
  esac
  shift
done
END
cat >"$work/bin/mpirun" <<'END'
#!/usr/bin/env bash
[[ $1 != --version ]] || { echo "mpirun (made up) 7.0" && exit; }
[[ $1 == -np ]] && STARTED=$2 "${@:3}"
END
chmod +x "$work/stagecoach" "$work/bin/mpirun"

status=0
PATH=$work/bin:$PATH OMP_NUM_THREADS=7 python3 "$work/bench/peers/run_peers.py" --suite processes --simd avx2 \
  --rounds 2 --steps 3 --warmup 2 --stagecoach "$work/stagecoach" --output "$work/result" \
  >"$work/output" 2>&1 || status=$?
[[ $status == 1 ]] || fail "a failed run must show in the exit status, got $status: $(<"$work/output")"
# images/s, each round, ratio to the baseline of the group, seconds of a step of 64 images.
has "$work/result.md" "cut after conv3's ReLU, malloc | 10.0 | 10.0, 10.0 | 1.00 | 6.400 | 100 + 200 |"
has "$work/result.md" 'SGD, malloc (2 of 2 runs failed) | - |'
has "$work/result.md" 'Failed: deepspeed-malloc: exit status 1: no DeepSpeed'
has "$work/result.md" 'split by measured time | 30.0 | 30.0, 30.0 | 3.00 | 2.133 | - |'
has "$work/result.md" 'measured time: time (cut at layer 7); a step (without the optimizer) took 1.500 times'
has "$work/result.md" '| DDP, gloo, malloc | 20.0 | 20.0, 20.0 | 1.00 |'
has "$work/result.md" '2 replicas | 30.0 | 30.0, 30.0 | 1.50 |'
has "$work/result.md" '(all held to avx2 by variables, below)'
has "$work/result.md" 'mpirun (made up) 7.0'
has "$work/result.md" 'STAGECOACH_SIMD=avx2 mpirun -np 2 stagecoach train --stages 1 --micro-batch-size 32'
has "$work/result.json" '"rounds": 2'
echo "bench/peers: all checks hold"
