#!/usr/bin/env bash
# The tests of core and kernels on ARM64: a cross build in build/arm64, its programs run by QEMU.
# Libraries of that architecture are downloaded (6 MB, Debian 12) into build/arm64/root; this
# system's own packages stay as they are. Needs scripts/install_dependencies.sh --with-ci.
set -euo pipefail
root=$(cd -P "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
build=$root/build/arm64
packages=(libhwy-dev libhwy1 libfmt-dev libfmt9 libspdlog-dev libspdlog1.10 libgtest-dev nlohmann-json3-dev
  libeigen3-dev libcli11-dev libcurl4-openssl-dev libarchive-dev libssl-dev)

for program in aarch64-linux-gnu-g++ qemu-aarch64 apt-get dpkg; do
  command -v "$program" >/dev/null && continue
  echo "arm64_check: $program is needed: scripts/install_dependencies.sh --with-ci" >&2
  exit 1
done

download() {
  local folder=$1
  mkdir -p "$folder/lists/partial" "$folder/packages"
  local options=(-qq -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o "Dir::State::Lists=$folder/lists"
    -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o APT::Sandbox::User=)
  apt-get "${options[@]}" update
  (cd "$folder/packages" && apt-get "${options[@]}" download "${packages[@]}")
  local package
  for package in "$folder"/packages/*.deb; do dpkg -x "$package" "$folder/root"; done
  mv "$folder/root" "$build/root"
}

if [[ ! -d $build/root ]]; then
  mkdir -p "$build"
  folder=$(mktemp -d -p "$build")
  trap 'rm -rf "$folder"' EXIT
  download "$folder"
fi

scripts/build.sh arm64 core_test kernels_test

# shard PROGRAM NUMBER OF: its part of the tests; the output where one fails.
shard() {
  local log=$build/$1-$2.log
  GTEST_TOTAL_SHARDS=$3 GTEST_SHARD_INDEX=$2 qemu-aarch64 -L /usr/aarch64-linux-gnu \
    -E LD_LIBRARY_PATH="$build/root/usr/lib/aarch64-linux-gnu" "$build/$1" --gtest_brief=1 >"$log" 2>&1 ||
    { cat "$log" >&2 && return 1; }
}
jobs=()
shard core_test 0 1 & jobs+=($!)
for part in 0 1; do
  shard kernels_test "$part" 2 & jobs+=($!)
done
failed=0
for job in "${jobs[@]}"; do wait "$job" || failed=1; done
((failed == 0)) || { echo "arm64_check: tests failed on ARM64" >&2 && exit 1; }
echo "arm64_check: on ARM64, $(grep -ohE 'PASSED  ] [0-9]+' "$build"/*_test-*.log |
  awk '{ n += $3 } END { print n }') tests of core and kernels without a failure"
