#!/usr/bin/env bash
# Trains under a Slurm of one machine and of two, which it starts for itself: scripts/slurm_check.sh --help
set -euo pipefail
root=$(cd -P "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

usage() {
  cat <<'END_OF_USAGE'
usage: scripts/slurm_check.sh [PROGRAM]
Starts munge and a Slurm in a temporary folder, submits scripts/slurm_example.sbatch with srun --mpi=pmix (Open MPI)
and --mpi=pmi2 (MPICH), and looks whether
  - the weights are those of threads, and each process has the cores that Slurm has bound it to,
  - SIGUSR1 writes a checkpoint, and the same script again goes on from it, to the same weights,
  - a process that dies is named, and what cannot work is refused in words,
  - four tasks on two nodes train the weights of threads, and one of them that dies is named.
The nodes have a name, an address and a slurmd each: two namespaces of network and host name, joined by a pair of
virtual network devices. Where such cannot be made, this machine is the only node, and the last point is skipped.
Needs root, two cores, the packages slurmctld slurmd slurm-client munge iproute2, and leaves nothing behind.
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

# This script is on the first node, where there can be two: it starts anew in namespaces that end with it.
own_namespaces=(unshare --net --uts --mount)
if [[ -z ${SLURM_CHECK_NODES:-} ]]; then
  if command -v ip >/dev/null && "${own_namespaces[@]}" ip link add name a type veth peer name b 2>/dev/null; then
    SLURM_CHECK_NODES=2 exec "${own_namespaces[@]}" "${BASH_SOURCE[0]}" "$program"
  fi
  SLURM_CHECK_NODES=1
fi

work=$(mktemp -d)
daemons=()
clean_up() {
  local status=$? pid
  if ((status != 0)); then tail -n 12 "$work"/slurm*.log "$work"/out* >&2 || true; fi
  if [[ -f $work/started ]]; then
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

# Makes the second node, and names and addresses for both.
make_nodes() {
  nodes=("$(hostname -s)") addresses=(127.0.0.1) on_second=()
  ((SLURM_CHECK_NODES == 2)) || return 0
  nodes=(first second) addresses=(10.79.0.1 10.79.0.2)
  printf '%s\n' "127.0.0.1 localhost" "${addresses[0]} first" "${addresses[1]} second" >"$work/hosts"
  mount --bind "$work/hosts" /etc/hosts
  unshare --net --uts sleep infinity &
  daemons+=($!)
  on_second=(nsenter --target "$!" --net --uts)
  until_true 5 "second node" is_apart "$!"
  hostname first
  "${on_second[@]}" hostname second
  ip link add name to-second type veth peer name to-first netns "$!"
  ip addr add "${addresses[0]}/24" dev to-second
  "${on_second[@]}" ip addr add "${addresses[1]}/24" dev to-first
  for device in lo to-second; do ip link set "$device" up; done
  for device in lo to-first; do "${on_second[@]}" ip link set "$device" up; done
}
is_apart() { [[ $(readlink "/proc/$1/ns/uts") != "$(readlink /proc/self/ns/uts)" ]]; }

start_slurm() {
  local cores i
  mkdir -m 755 "$work/munge" "$work/state" "${nodes[@]/#/$work/spool.}"
  mkdir -m 1777 "${nodes[@]/#/$work/tmp.}"
  chmod 755 "$work"
  (umask 077 && head -c 1024 /dev/urandom >"$work/munge/key")
  cat >"$work/slurm.conf" <<CONF
ClusterName=check
SlurmctldHost=${nodes[0]}(${addresses[0]})
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$work/munge/socket
SlurmctldPort=$port
SlurmdPort=$((port + 1))
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool.%n
TmpFS=$work/tmp.%n
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd.%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/affinity
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,sched_interval=2
ReturnToService=2
PartitionName=all Nodes=ALL Default=YES
CONF
  cores=$(slurmd -C | sed -n '1s/^NodeName=[^ ]* //p')
  for i in "${!nodes[@]}"; do
    echo "NodeName=${nodes[i]} NodeAddr=${addresses[i]} $cores" >>"$work/slurm.conf"
  done
  export SLURM_CONF=$work/slurm.conf
  munged --foreground --key-file="$work/munge/key" --socket="$work/munge/socket" --pid-file="$work/munge/pid" \
    --log-file="$work/munge/log" --seed-file="$work/munge/seed" >"$work/munged.log" 2>&1 &
  daemons+=($!)
  until_true 5 "munge" test -S "$work/munge/socket"
  slurmctld -D >"$work/slurmctld.log" 2>&1 &
  daemons+=($!)
  slurmd -D >"$work/slurmd.log" 2>&1 &
  daemons+=($!)
  if ((${#nodes[@]} == 2)); then
    "${on_second[@]}" slurmd -D >"$work/slurmd.second.log" 2>&1 &
    daemons+=($!)
  fi
  touch "$work/started"
  until_true 20 "${#nodes[@]} idle nodes" nodes_are_idle
}
nodes_are_idle() { [[ $(sinfo --noheader --Node --format=%T 2>/dev/null | grep -cx idle) == "${#nodes[@]}" ]]; }
until_true() { # until_true SECONDS WHAT COMMAND...
  local deadline=$((SECONDS + $1)) what=$2
  shift 2
  until "$@"; do
    ((SECONDS < deadline)) || fail "no $what in time"
    sleep 0.1
  done
}

job=(--data synthetic --image-size 64 --micro-batch-size 2 --micro-batches 4 --stages 2 --partition 6 --quiet)
# submit NODES PMI NAME OPTION...: two tasks on each node; prints the job's number.
submit() {
  sbatch --parsable --nodes="$1" --ntasks="$((2 * $1))" --cpus-per-task=1 --chdir="$work" --output="$work/out.$3" \
    --export="ALL,STAGECOACH=$program,STAGECOACH_PMI=$2" "$root/scripts/slurm_example.sbatch" "${job[@]}" \
    --checkpoint-dir "$work/run.$3" "${@:4}"
}
is_over() { [[ -z $(squeue --noheader --jobs="$1" 2>/dev/null) ]]; }
has_steps() { [[ -f $1 && $(wc -l <"$1") -ge 2 ]]; }
expect_said() { grep -q "$2" "$work/out.$1" || fail "out.$1 does not have: $2"; }

check_training() {
  local pmi=$1 number
  number=$(submit 1 "$pmi" "$pmi.whole" --steps 10 --save "$work/$pmi.whole")
  until_true 300 "end of the training" is_over "$number"
  cmp "$work/threads" "$work/$pmi.whole"
  expect_said "$pmi.whole" "2 processes, 1 thread each"
  echo "srun --mpi=$pmi: the bits of threads"

  number=$(submit 1 "$pmi" "$pmi.cut" --steps 1000000 --metrics "$work/$pmi.metrics")
  until_true 300 "steps" has_steps "$work/$pmi.metrics"
  scancel --signal=USR1 "$number"
  until_true 60 "end after SIGUSR1" is_over "$number"
  expect_said "$pmi.cut" "exit code 138" # 128 + SIGUSR1
  local steps
  steps=$("$program" inspect "$work/run.$pmi.cut" | grep -oE 'step-[0-9]+' | sort | tail -1)
  steps=$((10#${steps#step-} + 2))
  number=$(submit 1 "$pmi" "$pmi.cut" --steps "$steps" --save "$work/$pmi.cut")
  until_true 300 "end of the second part" is_over "$number"
  "$program" train "${job[@]}" --steps "$steps" --save "$work/$pmi.never" >/dev/null
  cmp "$work/$pmi.never" "$work/$pmi.cut"
  echo "srun --mpi=$pmi: a checkpoint at SIGUSR1, and the bits of a run that never stopped"

  local signal
  for signal in KILL STOP; do
    check_fault 1 "$pmi" "$signal" 1
  done
}

check_two_nodes() {
  local pmi=$1 number
  number=$(submit 2 "$pmi" "$pmi.nodes" --steps 10 --save "$work/$pmi.nodes" --report "$work/$pmi.report")
  until_true 300 "end of the training on two nodes" is_over "$number"
  cmp "$work/threads.replicas" "$work/$pmi.nodes"
  expect_said "$pmi.nodes" "4 processes, 1 thread each"
  grep -q '"machines": 2' "$work/$pmi.report" || fail "a report of two machines" "$(grep -A6 transport "$work/$pmi.report")"
  echo "srun --mpi=$pmi on two nodes: the bits of threads; messages along the pipeline" \
    "$(sed -n 's/^messages between processes, there too: //p' "$work/out.$pmi.nodes")"
  check_fault 2 "$pmi" KILL 3
}

# check_fault NODES PMI SIGNAL TASK
check_fault() {
  local number name=$2.$3.$1 words="has died" begin taken
  number=$(submit "$1" "$2" "$name" --steps 1000000 --metrics "$work/$name.metrics")
  until_true 300 "steps" has_steps "$work/$name.metrics"
  kill "-$3" "$(pid_of_task "$4")"
  begin=$(date +%s%N)
  until_true 60 "end after SIG$3" is_over "$number"
  taken=$((($(date +%s%N) - begin) / 1000000))
  [[ $3 == KILL ]] || words="gives no sign of life"
  expect_said "$name" "got process $4 on ${nodes[$1 - 1]} .*which $words; it was last in step"
  echo "srun --mpi=$2, nodes: $1; task $4, which $words, is named, and the job over $taken ms after SIG$3"
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
  srun --nodes=1 --ntasks=2 --mpi="$1" "$2" train "${job[@]}" >"$work/out.refused" 2>&1 || status=$?
  ((status == $3)) || fail "srun --mpi=$1 ended with $status instead of $3"
  expect_said refused "$4"
  echo "srun --mpi=$1: refused in words"
}

port=$((20000 + RANDOM % 10000))
make_nodes
start_slurm
"$program" train "${job[@]}" --steps 10 --save "$work/threads" >/dev/null
"$program" train "${job[@]}" --steps 10 --replicas 2 --save "$work/threads.replicas" >/dev/null
tried=0
for mpi in openmpi:pmix mpich:pmi2; do
  if [[ ! -f ${program%/*}/libstagecoach_${mpi%:*}.so ]]; then
    echo "srun --mpi=${mpi#*:}: skipped, as this build has no plug-in for ${mpi%:*}"
    continue
  fi
  check_training "${mpi#*:}"
  if ((${#nodes[@]} == 2)); then
    check_two_nodes "${mpi#*:}"
  else
    echo "srun --mpi=${mpi#*:} on two nodes: skipped, as no namespaces or virtual network devices can be made here"
  fi
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
