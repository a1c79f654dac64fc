#!/usr/bin/env bash
# Installs what is missing, builds, and trains: scripts/train.sh [OPTIONS]
# Options are those of `stagecoach train`; --help lists them. Relative file names are relative to
# the folder that you call it from.
set -euo pipefail
root=$(cd -P "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

"$root/scripts/install_dependencies.sh"
"$root/scripts/build.sh" release stagecoach
exec "$root/build/release/stagecoach" train "$@"
