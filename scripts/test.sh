#!/usr/bin/env bash
# Installs what is missing, builds everything, runs all tests: scripts/test.sh [CTEST OPTIONS]
# scripts/test.sh -L kernels: only the tests of one floor. scripts/test.sh -R dropout: by name.
set -euo pipefail
root=$(cd -P "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

"$root/scripts/install_dependencies.sh"
"$root/scripts/build.sh" release
cd "$root"
exec ctest --preset release -j 2 "$@"
