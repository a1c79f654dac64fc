#!/usr/bin/env bash
# clang-tidy 14 over the sources of the libraries: scripts/tidy_check.sh [FILE...]
# Without files: all of them but tests and benchmarks, in parallel. Needs a build folder with its compile
# database: STAGECOACH_BUILD, or build/release.
set -euo pipefail
root=$(cd -P "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
build=${STAGECOACH_BUILD:-build/release}

if ! command -v clang-tidy-14 >/dev/null; then
  echo "tidy_check: clang-tidy 14 is needed: scripts/install_dependencies.sh --with-ci" >&2
  exit 1
fi
[[ -f $build/compile_commands.json ]] || scripts/build.sh release stagecoach

if (($# > 0)); then
  sources=("$@")
else
  mapfile -d '' -t sources < <(git -c safe.directory="$root" ls-files -z -- 'core/*.cpp' 'kernels/*.cpp' \
    'layers/*.cpp' 'data/*.cpp' 'comm/*.cpp' 'pipeline/*.cpp' 'trainer/*.cpp')
fi
# Sources that this build does not compile (the other backend) have no command.
known=()
for file in "${sources[@]}"; do
  if [[ -f $file ]] && grep -qF "\"$root/$file\"" "$build/compile_commands.json"; then known+=("$file"); fi
done

# clang 14 knows neither two options of GCC, nor its precompiled headers, nor std::source_location.
database=$(mktemp -d)
trap 'rm -r "$database"' EXIT
sed 's/ -m\(move\|store\)-max=[0-9]*//g; s/ -Winvalid-pch -include [^ ]*//g' "$build/compile_commands.json" >"$database/compile_commands.json"
mkdir "$database/include"
cat >"$database/include/source_location" <<'END'
#pragma once
namespace std {
struct source_location {
  static constexpr source_location current() { return {}; }
  constexpr const char* file_name() const { return ""; }
  constexpr unsigned line() const { return 0; }
};
}  // namespace std
END
printf '%s\0' "${known[@]}" |
  xargs -0 -n 4 -P "$(nproc)" clang-tidy-14 --quiet -p "$database" \
    --extra-arg-before=-isystem"$database/include" --extra-arg=-Wno-unknown-pragmas 2> >(grep -v 'warnings generated' >&2)
echo "tidy_check: ${#known[@]} sources are clean"
