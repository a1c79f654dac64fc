#!/usr/bin/env bash
# Trains on two machines that are made of network namespaces, over TCP: with the bits of one, and one trace of
# clocks that are 3 s apart; through a link that is down for two seconds; and with words where it stays down; and
# over a wire that takes its time and loses packets.
set -euo pipefail
build=$(cd "${1:?a build folder}" && pwd)
program=$build/stagecoach
work=$(mktemp -d)
here=$(cd -P "$(dirname "${BASH_SOURCE[0]}")" && pwd)
a=sca$$ b=scb$$ # namespaces, and the names of the machines
between=scw$$   # of the wire
subnet=10.77.$((RANDOM % 256))

skip() {
  echo "skipped: $*"
  exit 77
}
clean_up() {
  local space
  for space in "$a" "$b" "$between"; do
    ip netns pids "$space" 2>/dev/null | xargs -r kill -9 || true
    ip netns del "$space" 2>/dev/null || true
  done
  rm -r "$work"
}
trap clean_up EXIT

[[ -f $build/libstagecoach_openmpi.so ]] || skip "this build has no plug-in for Open MPI"
command -v ip >/dev/null || skip "no ip: iproute2 has it"
ip netns add "$a" 2>/dev/null || skip "network namespaces need root, and a kernel that allows them"
ip netns add "$b"
ip link add "$a" type veth peer name "$b" 2>/dev/null || skip "no pairs of virtual network devices here"
ip link set "$a" netns "$a"
ip link set "$b" netns "$b"
give_addresses() {
  ip -n "$a" addr add "$subnet.1/24" dev "$a"
  ip -n "$b" addr add "$subnet.2/24" dev "$b"
  local space
  for space in "$a" "$b"; do
    ip -n "$space" link set "$space" up
    ip -n "$space" link set lo up
  done
}
give_addresses

own_clock=()
if unshare --time --monotonic 3 --fork true 2>/dev/null; then
  own_clock=(unshare --time --monotonic 3 --fork)
else
  echo "both machines have one clock: no time namespaces here"
fi

# How mpirun starts its helper on a machine: instead of ssh.
cat >"$work/agent" <<END
#!/usr/bin/env bash
shift
exec ip netns exec $b unshare --uts ${own_clock[*]} bash -c "hostname $b; \$*"
END
chmod +x "$work/agent"
cat >"$work/start" <<END
#!/usr/bin/env bash
hostname $a
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
exec mpirun --mca plm_rsh_agent $work/agent --mca oob_tcp_if_include $subnet.0/24 --mca btl tcp,self,vader \
  --mca btl_tcp_if_include $subnet.0/24 --oversubscribe -H $subnet.1:2,$subnet.2:2 -np 4 $program "\$@"
END
chmod +x "$work/start"
job=(train --data synthetic --image-size 64 --micro-batch-size 2 --micro-batches 4 --stages 2 --partition 6 --quiet)
on_two_machines() { timeout 60 ip netns exec "$a" unshare --uts "$work/start" "${job[@]}" "$@"; }
trainers() {
  local pid
  for pid in $(ip netns pids "$a") $(ip netns pids "$b"); do
    [[ $(cat "/proc/$pid/comm" 2>/dev/null) != stagecoach ]] ||
      grep -q '^State:.*Z' "/proc/$pid/status" 2>/dev/null || echo "$pid"
  done
}

"$program" "${job[@]}" --replicas 2 --steps 40 --save "$work/threads" >/dev/null
on_two_machines --steps 40 --save "$work/machines" --report "$work/report" --trace "$work/trace" >"$work/out"
cmp "$work/threads" "$work/machines"
echo "two machines: the bits of threads"

grep -q '"machines": 2' "$work/report" || { grep -A6 '"transport"' "$work/report" >&2 && exit 1; }
within=$(sed -n 's/.*"clocks_within_seconds": \([0-9.e-]*\).*/\1/p' "$work/report")
awk -v w="$within" 'BEGIN { exit !(w > 0 && w <= 0.01) }' || { echo "clocks within '$within' s" >&2 && exit 1; }
# The first F on each rank, of the same step.
apart=$(awk -F'[:,]' '/"name":"F0"/ {
  for (i = 1; i < NF; ++i) {
    if ($i == "\"tid\"") rank = $(i + 1)
    if ($i == "\"ts\"") time = $(i + 1)
  }
  if (!(rank in first)) first[rank] = time
} END { printf "%d", first[1] - first[0] }' "$work/trace")
((apart > 0 && apart < 2500000)) || { echo "rank 1 began $apart us behind rank 0" >&2 && exit 1; }
echo "clocks known to $within s: rank 1 began $apart us behind rank 0"

until_steps() { # until_steps FILE: of metrics
  until [[ -f $1 && $(wc -l <"$1") -ge 2 ]]; do
    kill -0 "$running" 2>/dev/null || { cat "$work/err" >&2 && exit 1; }
    sleep 0.05
  done
}
on_two_machines --steps 40 --save "$work/interrupted" --metrics "$work/first" >"$work/out" 2>"$work/err" &
running=$!
until_steps "$work/first"
ip -n "$a" link set "$a" down
sleep 2
ip -n "$a" link set "$a" up
wait "$running" || { cat "$work/err" >&2 && exit 1; }
cmp "$work/threads" "$work/interrupted"
echo "a link that was down for two seconds: the bits of threads"

on_two_machines --steps 100000 --metrics "$work/second" >"$work/out" 2>"$work/err" &
running=$!
until_steps "$work/second"
ip -n "$a" link set "$a" down
begin=$(date +%s%N)
while [[ -n $(trainers) ]]; do
  (($(date +%s%N) - begin < 20000000000)) || break
  sleep 0.1
done
taken=$((($(date +%s%N) - begin) / 1000000))
ip netns pids "$a" | xargs -r kill -9  # mpirun waits for its helper on the other machine
wait "$running" || true
grep -q "^stagecoach: error: training: .*no sign of life from the processes on $b" "$work/err" ||
  { cat "$work/err" >&2 && exit 1; }
((taken < 20000)) || { echo "processes were there $taken ms after the link was cut" >&2 && exit 1; }
echo "a link that stays down: said, and all ended after $taken ms"

if ! command -v python3 >/dev/null; then
  echo "no slow wire between the machines: no python3 here"
  exit 0
fi
ip -n "$a" link del "$a"
ip netns add "$between"
for space in "$a" "$b"; do
  ip -n "$between" link add "$space" type veth peer name "$space" netns "$space"
  ip -n "$between" link set "$space" up
done
give_addresses
# connect DELAY_MS LOSS_PERCENT
connect() {
  ip netns pids "$between" | xargs -r kill
  ip netns exec "$between" python3 "$here/wire.py" "$a" "$b" "$1" "$2" >"$work/wire" 2>&1 &
  local wire=$!
  disown
  while ! grep -q ready "$work/wire"; do
    kill -0 "$wire" 2>/dev/null || { cat "$work/wire" >&2 && exit 1; }
    sleep 0.1
  done
}
over_wire() {
  connect "$1" "$2"
  on_two_machines --steps 40 --save "$work/slow" >"$work/out" 2>"$work/err" || { cat "$work/err" >&2 && exit 1; }
  cmp "$work/threads" "$work/slow"
  echo "a wire that takes $1 ms and loses $2 % of what it is given: the bits of threads"
}
over_wire 5 0
over_wire 1 2
connect 20 0
on_two_machines --steps 40 >"$work/out" 2>"$work/err" && { echo "clocks behind 40 ms were taken for known" >&2 && exit 1; }
grep -q "^stagecoach: error: clocks of the machines: expected a message .* and back within 20 ms" "$work/err" ||
  { cat "$work/err" >&2 && exit 1; }
echo "a wire that takes 20 ms: refused, as clocks are not known to 10 ms"
