#!/usr/bin/env bash
# Checks the format of every tracked source: scripts/format_check.sh [--fix]
# --fix rewrites them. Also runs shellcheck over the scripts, where it is installed.
set -euo pipefail
root=$(cd -P "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

# Other versions lay some lines out differently, so only 14 counts.
formatter=
for candidate in clang-format-14 clang-format; do
  if command -v "$candidate" >/dev/null && [[ $("$candidate" --version) == *"version 14."* ]]; then
    formatter=$candidate
    break
  fi
done
if [[ -z $formatter ]]; then
  echo "format_check: clang-format 14 is needed: scripts/install_dependencies.sh --with-ci" >&2
  exit 1
fi

# -z: names with blanks; deleted files that git still lists are left out. In a container, the folder
# may belong to another user, which git refuses unless told.
mapfile -d '' -t tracked < <(git -c safe.directory="$root" ls-files -z -- '*.h' '*.cpp' '*.cu')
sources=()
for file in "${tracked[@]}"; do
  if [[ -f $file ]]; then sources+=("$file"); fi
done
if ((${#sources[@]} == 0)); then
  echo "format_check: git lists no sources here" >&2
  exit 1
fi

if [[ ${1:-} == --fix ]]; then
  "$formatter" -i "${sources[@]}"
elif ! "$formatter" --dry-run -Werror --ferror-limit=1 "${sources[@]}"; then
  echo "format_check: scripts/format_check.sh --fix repairs this" >&2
  exit 1
fi
if command -v shellcheck >/dev/null; then
  shellcheck scripts/*.sh tests/scripts/*.sh .ci/run
fi
echo "format_check: ${#sources[@]} sources are well-formed"
