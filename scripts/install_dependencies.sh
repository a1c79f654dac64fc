#!/usr/bin/env bash
# Installs what Stagecoach needs to build, on Debian 12, Ubuntu 22.04 and newer. Prints nothing when
# everything is there. What each package is for: third_party/README.md.
set -euo pipefail

packages=(g++ cmake ninja-build libhwy-dev libcli11-dev nlohmann-json3-dev libspdlog-dev
  libfmt-dev libeigen3-dev libarchive-dev libcurl4-openssl-dev libssl-dev ca-certificates
  libgtest-dev libbenchmark-dev libopenmpi-dev openmpi-bin)
ci_packages=(clang-19 clang-format-14 clang-tidy-14 libclang-rt-19-dev doxygen shellcheck git qemu-user
  g++-aarch64-linux-gnu iproute2 libmpich-dev mpich python3)

usage() {
  cat <<'END'
usage: scripts/install_dependencies.sh [--with-ci]
  --with-ci  also what .ci/run needs: clang 19, clang-format and clang-tidy 14, doxygen, shellcheck, git, qemu,
              a cross compiler for ARM64, iproute2, MPICH beside Open MPI, and Python
Set STAGECOACH_SKIP_INSTALL=1 to skip it all, where the libraries come from somewhere else.
END
}

fail() {
  printf 'install_dependencies: %s\n' "$@" >&2
  exit 1
}

for argument in "$@"; do
  case $argument in
    --with-ci) packages+=("${ci_packages[@]}") ;;
    -h | --help) usage && exit 0 ;;
    *) usage >&2 && exit 2 ;;
  esac
done

if [[ ${STAGECOACH_SKIP_INSTALL:-0} == 1 ]]; then
  exit 0
fi
if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
  fail "this system has no apt. Please install the counterparts of these Debian packages:" \
    "  ${packages[*]}" \
    "and set STAGECOACH_SKIP_INSTALL=1."
fi

is_installed() {
  # A package may be there for two architectures: one line each.
  dpkg-query -W -f '${db:Status-Status}\n' "$1" 2>/dev/null | grep -qx installed
}

missing=()
for package in "${packages[@]}"; do
  is_installed "$package" || missing+=("$package")
done
if ((${#missing[@]} == 0)); then
  exit 0
fi

# Under sudo the environment is cleared, so the variable is set on its far side.
apt=(env DEBIAN_FRONTEND=noninteractive apt-get -y)
if (($(id -u) != 0)); then
  command -v sudo >/dev/null ||
    fail "missing packages, and neither root nor sudo to install them. As root, run:" \
      "  apt-get install --no-install-recommends ${missing[*]}"
  apt=(sudo "${apt[@]}")
fi

echo "install_dependencies: installing ${missing[*]}" >&2
# An update that fails (offline, a broken foreign source) need not stop an installation that works.
"${apt[@]}" update -q >&2 || echo "install_dependencies: apt-get update failed; trying anyway" >&2
"${apt[@]}" install -q --no-install-recommends "${missing[@]}" >&2 ||
  fail "apt-get could not install: ${missing[*]}"
