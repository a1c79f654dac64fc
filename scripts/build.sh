#!/usr/bin/env bash
# Configures (when needed) and builds a preset: scripts/build.sh [PRESET [TARGET...]]
# Says nothing when everything is up to date; progress and errors go to stderr.
set -euo pipefail
root=$(cd -P "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
preset=${1:-release}
build=$root/build/$preset

# Read by CMake when a build folder is made. What uses GCC's precompiled headers is kept only where ccache is
# told that it may be; Clang's hold times of files, which one from the cache has wrong.
if command -v ccache >/dev/null; then
  launcher=ccache
  [[ ${CXX:-} == *clang* ]] || launcher="env;CCACHE_SLOPPINESS=pch_defines,time_macros;ccache"
  export CMAKE_CXX_COMPILER_LAUNCHER=${CMAKE_CXX_COMPILER_LAUNCHER-$launcher}
fi

configure() {
  echo "configuring build/$preset" >&2
  local output
  if ! output=$(cd "$root" && cmake --preset "$preset" 2>&1); then
    printf '%s\n' "$output" >&2
    exit 1
  fi
}

# One line rewritten in place on a terminal, else one for each tenth; other lines as they are.
show_progress() {
  local line tenth last=0
  while IFS= read -r line; do
    if [[ $line =~ ^\[([0-9]+)/([0-9]+)\]\ (.*) ]]; then
      [[ ${BASH_REMATCH[3]} == Re-checking* ]] && continue
      if [[ -t 2 ]]; then
        printf '\r\033[K%.100s' "$line" >&2
        continue
      fi
      tenth=$((10 * BASH_REMATCH[1] / BASH_REMATCH[2]))
      ((tenth == last)) || printf '%s\n' "$line" >&2
      last=$tenth
    elif [[ $line != "ninja: "[nE]* && $line != "-- "* ]]; then
      [[ -t 2 ]] && printf '\r\033[K' >&2
      printf '%s\n' "$line" >&2
    fi
  done
  if [[ -t 2 ]]; then printf '\r\033[K' >&2; fi
}

# Ninja runs CMake again when a CMakeLists.txt changes, but does not know of the presets.
if [[ ! -f $build/build.ninja || $root/CMakePresets.json -nt $build/build.ninja ]]; then
  configure
fi
cmake --build "$build" ${2:+--target "${@:2}"} 2>&1 | show_progress
