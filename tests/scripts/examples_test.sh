#!/usr/bin/env bash
# The examples as their users build them, in an empty folder: against an installation of the release
# build, and in one build with the sources.
set -euo pipefail
root=$(cd -P "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=${1:-$root/build/release}
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
if command -v ccache >/dev/null; then export CMAKE_CXX_COMPILER_LAUNCHER=ccache; fi

quietly() { # the output only of what fails
  local output
  output=$("$@" 2>&1) || { printf '%s\n' "$*" "$output" && return 1; }
}
fail() {
  printf 'FAILED: %s\n' "$*"
  exit 1
}

make_example() { # make_example NAME FOLDER [CMAKE OPTION...]
  quietly cmake -S "$work/examples/$1" -B "$2" -G Ninja -DCMAKE_BUILD_TYPE=Release "${@:3}"
  quietly cmake --build "$2"
}

# They lie beside nothing of ours.
cp -r "$root/examples" "$work/examples"
quietly cmake --install "$build" --prefix "$work/installed"
for plugin in "$build"/libstagecoach_{openmpi,mpich}.so; do
  [[ ! -f $plugin || -n $(find "$work/installed" -path "*/stagecoach/${plugin##*/}") ]] || fail "${plugin##*/} is not installed"
done
make_example schedule "$work/schedule" -DCMAKE_PREFIX_PATH="$work/installed"
make_example custom "$work/custom" -DCMAKE_PREFIX_PATH="$work/installed"

printf '0F0 0F1 0BW0 0BW1\n1F0 1BW0 1F1 1BW1\n' >"$work/table.txt"
drawn=$("$work/schedule/draw_schedule" "$work/table.txt" "$work/table.svg")
[[ $drawn == *"2 ranks, makespan"*"F0"* ]] || fail "draw_schedule: $drawn"
grep -q '</svg>' "$work/table.svg" || fail "no picture"
printf '0F0 0BW0\n1BW0 1F0\n' >"$work/wrong.txt"
if "$work/schedule/draw_schedule" "$work/wrong.txt" 2>"$work/error"; then fail "a wrong table passes"; fi
grep -q 'line 2, rank 1' "$work/error" || fail "$(cat "$work/error")"
if grep -qE 'cuda|hwy' <(ldd "$work/schedule/draw_schedule"); then fail "a backend is linked"; fi

(cd "$work" && custom/train_custom) >"$work/losses"
awk '/^step/ { if (!n++) first = $4; last = $4 } END { exit !(n == 4 && last < first / 5) }' \
  "$work/losses" || fail "the loss does not go down: $(cat "$work/losses")"

# The sources as a part of another build; schedules alone, which compile in seconds.
make_example schedule "$work/added" -DSTAGECOACH_CHECKOUT="$root" -DSTAGECOACH_CUDA=OFF
[[ $("$work/added/draw_schedule" "$work/table.txt") == "$drawn" ]] || fail "added: another drawing"
# Nothing of ours but what is asked for: no warning flags, tests or options of its own.
if grep -q -- '-Werror' <(grep draw_schedule.cpp <(ninja -C "$work/added" -t commands)); then
  fail "our compile options reach who adds us"
fi
# FetchContent adds it too; what it would build has been built above.
mkdir "$work/fetching"
cat >"$work/fetching/CMakeLists.txt" <<END
cmake_minimum_required(VERSION 3.22)
project(fetching LANGUAGES CXX)
include(FetchContent)
FetchContent_Declare(stagecoach SOURCE_DIR "$root")
FetchContent_MakeAvailable(stagecoach)
add_executable(draw "$work/examples/schedule/draw_schedule.cpp")
target_link_libraries(draw PRIVATE stagecoach::schedule)
END
quietly cmake -S "$work/fetching" -B "$work/fetched" -G Ninja -DSTAGECOACH_CUDA=OFF
echo "examples: built twice, run"
