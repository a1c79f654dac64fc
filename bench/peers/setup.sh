#!/usr/bin/env bash
# Makes a throw-away Python environment with the peers: bench/peers/setup.sh [FOLDER]
# FOLDER is build/peers unless given. Delete it when done: nothing else is touched.
set -euo pipefail
here=$(cd -P "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=${1:-$here/../../build/peers}

if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
  echo "setup: python3 cannot make virtual environments: apt-get install python3-venv" >&2
  exit 1
fi
python3 -m venv "$folder"
python="$folder/bin/python"
"$python" -m pip install --quiet --upgrade pip setuptools wheel
# DeepSpeed compiles the operations that it needs when it first runs, not all of them here.
DS_BUILD_OPS=0 "$python" -m pip install --quiet -r "$here/requirements.txt"
# DeepSpeed looks for a GPU when imported; a machine without one must do.
"$python" - <<'PYTHON'
import deepspeed, torch, torchvision
print(f"torch {torch.__version__}, torchvision {torchvision.__version__}, "
      f"deepspeed {deepspeed.__version__}")
PYTHON
echo "setup: now run $python $here/run_peers.py --help"
