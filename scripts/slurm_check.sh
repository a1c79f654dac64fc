#!/usr/bin/env bash
# Trains under a Slurm of one machine, which it starts for itself: scripts/slurm_check.sh --help
set -euo pipefail
root=$(cd -P "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

usage() {
  cat <<'END_OF_USAGE'
usage: scripts/slurm_check.sh [PROGRAM]
Starts munge and a Slurm of this machine alone in a temporary folder, submits scripts/slurm_example.sbatch with
srun --mpi=pmix (Open MPI) and --mpi=pmi2 (MPICH), and looks whether
  - the weights are those of threads, and each process has the cores that Slurm has bound it to,
  - SIGUSR1 writes a checkpoint, and the same script again goes on from it, to the same weights,
  - a process that dies is named, and what cannot work is refused in words.
Needs root, two cores, the packages slurmctld slurmd slurm-client munge, and leaves nothing behind.
PROGRAM: default build/release/stagecoach, with a plug-in for an MPI beside it.
END_OF_USAGE
}
case ${1:-} in -h | --help) usage && exit 0 ;; esac
program=$(realpath "${1:-$root/build/release/stagecoach}")

fail() {
  printf 'slurm_check: %s\n' "$@" >&2
  exit 1
}
for tool in munged slurmctld slurmd sbatch; do
  command -v "$tool" >/dev/null || fail "no $tool here: apt-get install slurmctld slurmd slurm-client munge"
done
(($(id -u) == 0)) || fail "Slurm's daemons start tasks for their users: run this as root"
[[ -x $program ]] || fail "no $program: scripts/build.sh release stagecoach"

work=$(mktemp -d)
daemons=()
clean_up() {
  local status=$? pid
  if ((status != 0)); then tail -n 12 "$work"/slurm*.log "$work"/out* >&2 || true; fi
  if ((${#daemons[@]} == 3)); then
    scancel --user="$(id -un)" 2>/dev/null || true
    for ((i = 0; i < 50; i++)); do
      [[ -n $(squeue --noheader 2>/dev/null) ]] || break
      sleep 0.1
    done
  fi
  for pid in "${daemons[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait
  rm -r "$work"
  exit "$status"
}
trap clean_up EXIT

start_slurm() {
  local host port=$((20000 + RANDOM % 10000))
  host=$(hostname -s)
  mkdir -m 755 "$work/munge" "$work/state" "$work/spool"
  chmod 755 "$work"
  (umask 077 && head -c 1024 /dev/urandom >"$work/munge/key")
  cat >"$work/slurm.conf" <<CONF
ClusterName=check
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$work/munge/socket
SlurmctldPort=$port
SlurmdPort=$((port + 1))
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/affinity
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,sched_interval=2
ReturnToService=2
$(slurmd -C | head -1) NodeAddr=127.0.0.1
PartitionName=all Nodes=ALL Default=YES
CONF
  export SLURM_CONF=$work/slurm.conf
  munged --foreground --key-file="$work/munge/key" --socket="$work/munge/socket" --pid-file="$work/munge/pid" \
    --log-file="$work/munge/log" --seed-file="$work/munge/seed" >"$work/munged.log" 2>&1 &
  daemons+=($!)
  until_true 5 "munge" test -S "$work/munge/socket"
  slurmctld -D >"$work/slurmctld.log" 2>&1 &
  daemons+=($!)
  slurmd -D >"$work/slurmd.log" 2>&1 &
  daemons+=($!)
  until_true 20 "an idle node" node_is_idle
}
node_is_idle() { [[ $(sinfo --noheader --format=%T 2>/dev/null) == idle ]]; }
until_true() { # until_true SECONDS WHAT COMMAND...
  local deadline=$((SECONDS + $1)) what=$2
  shift 2
  until "$@"; do
    ((SECONDS < deadline)) || fail "no $what in time"
    sleep 0.1
  done
}

job=(--data synthetic --image-size 64 --micro-batch-size 2 --micro-batches 4 --stages 2 --partition 6 --quiet)
# submit PMI NAME OPTION...: prints the job's number.
submit() {
  sbatch --parsable --ntasks=2 --cpus-per-task=1 --chdir="$work" --output="$work/out.$2" \
    --export="ALL,STAGECOACH=$program,STAGECOACH_PMI=$1" "$root/scripts/slurm_example.sbatch" "${job[@]}" \
    --checkpoint-dir "$work/run.$2" "${@:3}"
}
is_over() { [[ -z $(squeue --noheader --jobs="$1" 2>/dev/null) ]]; }
has_steps() { [[ -f $1 && $(wc -l <"$1") -ge 2 ]]; }
expect_said() { grep -q "$2" "$work/out.$1" || fail "out.$1 does not have: $2"; }

check_training() {
  local pmi=$1 number
  number=$(submit "$pmi" "$pmi.whole" --steps 10 --save "$work/$pmi.whole")
  until_true 300 "end of the training" is_over "$number"
  cmp "$work/threads" "$work/$pmi.whole"
  expect_said "$pmi.whole" "2 processes, 1 thread each"
  echo "srun --mpi=$pmi: the bits of threads"

  number=$(submit "$pmi" "$pmi.cut" --steps 1000000 --metrics "$work/$pmi.metrics")
  until_true 300 "steps" has_steps "$work/$pmi.metrics"
  scancel --signal=USR1 "$number"
  until_true 60 "end after SIGUSR1" is_over "$number"
  expect_said "$pmi.cut" "exit code 138" # 128 + SIGUSR1
  local steps
  steps=$("$program" inspect "$work/run.$pmi.cut" | grep -oE 'step-[0-9]+' | sort | tail -1)
  steps=$((10#${steps#step-} + 2))
  number=$(submit "$pmi" "$pmi.cut" --steps "$steps" --save "$work/$pmi.cut")
  until_true 300 "end of the second part" is_over "$number"
  "$program" train "${job[@]}" --steps "$steps" --save "$work/$pmi.never" >/dev/null
  cmp "$work/$pmi.never" "$work/$pmi.cut"
  echo "srun --mpi=$pmi: a checkpoint at SIGUSR1, and the bits of a run that never stopped"

  local signal words
  for signal in KILL STOP; do
    number=$(submit "$pmi" "$pmi.$signal" --steps 1000000 --metrics "$work/$pmi.$signal")
    until_true 300 "steps" has_steps "$work/$pmi.$signal"
    kill -$signal "$(pid_of_task 1)"
    until_true 60 "end after SIG$signal" is_over "$number"
    words="has died"
    [[ $signal == KILL ]] || words="gives no sign of life"
    expect_said "$pmi.$signal" "got process 1 on .*which $words; it was last in step"
  done
  echo "srun --mpi=$pmi: a process that dies or freezes is named, and the job ends"
}
pid_of_task() {
  local pid
  for pid in $(pgrep -x "$(basename "$program")"); do
    [[ $(tr '\0' '\n' <"/proc/$pid/environ" | grep -cxE "SLURM_PROCID=$1|SLURM_CONF=$SLURM_CONF") != 2 ]] || echo "$pid"
  done 2>/dev/null
}

# refused PMI PROGRAM CODE WORDS: of a program that starts no MPI, or the wrong one.
refused() {
  local status=0
  srun --ntasks=2 --mpi="$1" "$2" train "${job[@]}" >"$work/out.refused" 2>&1 || status=$?
  ((status == $3)) || fail "srun --mpi=$1 ended with $status instead of $3"
  expect_said refused "$4"
  echo "srun --mpi=$1: refused in words"
}

start_slurm
"$program" train "${job[@]}" --steps 10 --save "$work/threads" >/dev/null
tried=0
for mpi in openmpi:pmix mpich:pmi2; do
  if [[ ! -f ${program%/*}/libstagecoach_${mpi%:*}.so ]]; then
    echo "srun --mpi=${mpi#*:}: skipped, as this build has no plug-in for ${mpi%:*}"
    continue
  fi
  check_training "${mpi#*:}"
  tried=$((tried + 1))
done
((tried > 0)) || fail "this build has no plug-in for an MPI: libopenmpi-dev or libmpich-dev"
refused none "$program" 2 "got SLURM_PROCID=0 and SLURM_STEP_NUM_TASKS=2 of srun"
if [[ -f ${program%/*}/libstagecoach_mpich.so ]]; then
  mkdir "$work/mpich"
  cp "$program" "${program%/*}/libstagecoach_mpich.so" "$work/mpich"
  echo "with a plug-in for MPICH alone:"
  refused pmix "$work/mpich/${program##*/}" 1 "expected 2 processes, as srun says by .*, got 1 of MPICH"
fi
