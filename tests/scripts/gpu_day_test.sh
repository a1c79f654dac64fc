#!/usr/bin/env bash
# The three calls of scripts/gpu_check.sh, whole, on a machine that is made up but whose program trains:
# Stagecoach on a simulated GPU. Each call gets a bare machine with the tracked files and what
# scripts/pack_gpu_day.sh packs, without .git and, where this system lets it be taken away, a network.
# tests/scripts/gpu_day_test.sh BUILD_FOLDER
set -euo pipefail
root=$(cd -P "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
program=$(cd "${1:?the build folder}" && pwd)/stagecoach_simulated
if ! command -v python3 >/dev/null || [[ ! -e $root/.git ]]; then
  echo "python3 or .git is not there: what is carried to a GPU cannot be packed here"
  exit 77
fi
[[ -x $program ]] || { echo "$program is not built" >&2 && exit 1; }
# shellcheck source=tests/scripts/gpu_stand_ins.sh
source "$root/tests/scripts/gpu_stand_ins.sh"
trap 'rm -rf "$work"' EXIT
make_libraries
make_programs

# As large as it has to be: a run of every kind, two stages, few images.
export GPU_CHECK_BATCHES=4 GPU_CHECK_IMAGE_SIZE=63 GPU_CHECK_RUN_SECONDS=0.1 GPU_CHECK_STAGES=2 \
  GPU_CHECK_BITS_BATCH=4 GPU_CHECK_EPOCH_IMAGES=9 GPU_CHECK_EPOCH_BATCH=2 GPU_CHECK_ROUNDS=1 GPU_CHECK_LONGEST=120 \
  GPU_CHECK_SLOWER=3
unset STAGECOACH_COMMIT OUT

# The program trains, but of the many runs that only measure, those after the first get its figures.
cat >"$work/stagecoach" <<END
#!/usr/bin/env bash
set -euo pipefail
given=" \$* " kept=$work/first_run
touch build/trains
trap 'rm -f build/trains' EXIT
if [[ \$given != *" --max-minutes "* || ! -e \$kept ]]; then
  "$program" "\$@"
fi
[[ \$given == *" --max-minutes "* ]] || exit 0
launch=graph precision=\${given#* --precision }
[[ \$given != *" --eager "* ]] || launch=eager
while ((\$# > 0)); do
  [[ \$1 != --report ]] || report=\$2
  [[ \$1 != --metrics ]] || metrics=\$2
  shift
done
[[ -e \$kept ]] || { mkdir \$kept && cp "\$report" \$kept/report && cp "\$metrics" \$kept/metrics; }
sed 's/"launch": .*,/"launch": "'\$launch'",/; s/"precision": .*,/"precision": "'\${precision%% *}'",/' \
  \$kept/report >"\$report"
cp \$kept/metrics "\$metrics"
sleep 0.3
END

# A repository of its own, so that packing writes nothing here; what is not committed belongs to it.
name="packing"
mkdir "$work/clone"
(cd "$root" && git -c safe.directory="$root" ls-files -z --cached --others --exclude-standard |
  while IFS= read -rd '' file; do
    if [[ -f $file ]]; then cp -p --parents "$file" "$work/clone"; fi
  done)
(cd "$work/clone" && git init -q && git add -A &&
  git -c user.name=test -c user.email=test@localhost commit -qm "As it is")
mkdir -p "$work/cifar" "$work/clone/build/dependencies"
echo "not a library" >"$work/clone/build/dependencies/PACKAGES"
tar -C "$work/clone/build" -czf "$work/clone/build/dependencies.tar.gz" dependencies
rm -r "$work/clone/build/dependencies"
for file in data_batch_1.bin test_batch.bin; do
  truncate -s 30730000 "$work/cifar/$file"
  printf 'abc' | dd of="$work/cifar/$file" bs=1 seek=27656998 conv=notrunc status=none
done
pack() { # sets status, output
  status=0
  output=$(CIFAR10_DIR=$work/cifar "$work/clone/scripts/pack_gpu_day.sh" "$@" 2>&1) || status=$?
}
pack --limit 1
expect "what is too large is refused" test "$status" = 1
expect "and said" matches "$output" "that is more than 1 MiB: carry less"
pack
expect "succeeds" test "$status" = 0
expect "says how large it is" matches "$output" "of at most 67108864"
commit=$(<"$work/clone/build/commit")
expect "the commit" matches "$commit" "$(git -C "$work/clone" rev-parse --short=12 HEAD)"

# bare CALL: what travels, and no more.
bare() {
  machine "$1"
  rm -rf "$copy"
  mkdir -p "$copy/build"
  (cd "$work/clone" && git ls-files -z --cached --others --exclude-standard |
    xargs -0 cp -p --parents -t "$copy")
  cp "$work/clone"/build/{commit,dependencies.tar.gz,images.tar.gz} "$copy/build/"
  expect "no .git travels" test ! -e "$copy/.git"
}
if unshare -rn true 2>/dev/null; then inside=(unshare -rn); else echo "with a network: unshare is not permitted"; fi

# call CALL: runs it, and looks at what comes back.
call() {
  bare "$1"
  run "$1"
  expect "succeeds" test "$status" = 0
  expect "commit" matches "$record" "commit $commit"
  expect "GPU" matches "$record" "NVIDIA Paper 1, 132 multiprocessors, capability 9.0, 80.0 GiB"
  expect "driver" matches "$record" "for CUDA 13.0"
  expect "what the program says" matches "$record" "Simulated GPU"
  expect "builds for this GPU" grep -q -- '-DCMAKE_CUDA_ARCHITECTURES=90-real' "$copy/build/configured"
  expect "warnings are no errors" grep -q -- '-DSTAGECOACH_WERROR=OFF' "$copy/build/configured"
  expect "every step of the list is in the record" test -z "$(
    "$root/scripts/gpu_check.sh" "$1" --list | cut -f 1 | while read -r step; do
      grep -q "^| $step | passed |" <<<"$record" || echo "$step"
    done)"
  # 8 files, 16 MiB each, two folders deep, plain names.
  expect "few files" test "$(find "$work/out" -type f | wc -l)" -le 8
  expect "none large" test -z "$(find "$work/out" -type f -size +16M)"
  expect "none deep, none with an odd name" test -z "$(
    find "$work/out" -mindepth 1 -printf '%P\n' | grep -vE '^([A-Za-z0-9._-]+/){0,2}[A-Za-z0-9._-]+$')"
  expect "nothing else is written" test -z "$(find "$copy/bench/results" -newer "$copy/build/configured")"
  expect "logs" test -n "$(tar -tzf "$work"/out/*.tgz | grep info.log)"
}
has() { expect "$1" matches "$record" "$2"; }

call build-test
has "tests" "13 passed, 0 failed, 1 skipped, 0 stopped, 0 not reached."
has "why skipped" "- skipped: StreamShim.Skips: needs two GPUs"
expect "builds what it uses" test "$(xargs <"$copy/build/targets")" = "stagecoach gpu_test"
# The order in which the groups ran, the first of each; and every test in one group.
expect "what matters most is first" test "$(grep -n . "$copy/build/ran" | grep -E \
  'ReluShim.IsTheCpus/0|StreamShim|CudnnMax|LinearShim|LayersShim|EngineShim|LoaderShim' |
  sed 's/:.*//' | head -7 | xargs)" = "1 4 5 10 11 12 13"
log=$(<"$copy/build/gpu_check/memcheck_train.log")
expect "a training under the sanitizer" matches "$log" "train --data synthetic --device cuda --eager"
expect "which trains" matches "$log" "memory of stage 1: planned"

call bench-step
has "ours" "| 4 | Stagecoach, bf16 | "
has "PyTorch's" "| 4 | PyTorch, bf16, tuned, CUDA graph, with resizing | 500 |"
has "without the loader's work" "- Run: a step without the loader's work against one with it"
has "micro-batches" "| plain loop | 8 x 32 | "
has "clocks" "Stagecoach, bf16, batch 4, 0 stages, round 1 | 1980 MHz, 651 W, power cap | 1980 MHz"
has "bits" "Different weights: 1."
expect "by graphs and launch by launch" test "$(grep -cE '^\| 2 \| (graph|eager) \| [0-9.]+ \| [0-9a-f]{64} \|' \
  <<<"$record")" = 2
has "kernels" "| stagecoach::pool | 2 | 4.0 | 6.0 | 2.0 | 2000 | 42 | - |"

call bench-more
has "epochs" "CIFAR-10, 3 steps of 4 x 2 images in bf16 on 2 stages"
has "which tests" "on 1 other images"
has "curve" "| 2 | 2.200000 | 2.250000 | 5.0e-02 |"
has "memory" "| 4 | 0 | "
has "NCCL" "eagerly arrived; captured, launched twice: arrived, arrived;"
has "pipelines" "| 4 | 8 x 32 | "
has "precisions" "| 4 | Stagecoach, tf32 |"
expect "JSON too" python3 -c "import glob, json, sys
record = json.load(open(glob.glob(sys.argv[1] + '/*.json')[0]))
assert record['device_properties'] == {'deviceName': 'NVIDIA Paper 1'}, record
assert record['memory'][0]['used_mib'] == 4000, record['memory']" "$work/out"

finish "the three calls"
