#!/usr/bin/env bash
# The reference of the public headers, into build/api/html; Doxygen's warnings are errors. It reads the
# headers of a build folder: STAGECOACH_BUILD, or build/release.
set -euo pipefail
root=$(cd -P "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
build=${STAGECOACH_BUILD:-build/release}
if ! command -v doxygen >/dev/null; then
  echo "api_docs: doxygen is needed: scripts/install_dependencies.sh --with-ci" >&2
  exit 1
fi
[[ -d $build/include/stagecoach ]] || scripts/build.sh release stagecoach
mkdir -p build
STAGECOACH_HEADERS=$build/include doxygen docs/Doxyfile
echo "api_docs: build/api/html/index.html"
