#!/usr/bin/env bash
# Copies the libraries that Stagecoach is built with from this machine's packages, for a machine that
# has a compiler but neither these packages nor a network. scripts/pack_dependencies.sh --help
set -euo pipefail
root=$(cd -P "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
packages=(libhwy1 libhwy-dev libcli11-dev nlohmann-json3-dev libspdlog-dev
  libfmt-dev libeigen3-dev libarchive-dev libcurl4-openssl-dev libssl-dev libgtest-dev googletest
  libbenchmark-dev)

usage() {
  cat <<'END'
usage: scripts/pack_dependencies.sh [FOLDER | FILE.tar.gz]     default: build/dependencies.tar.gz
On the other machine, scripts/gpu_check.sh uses build/dependencies or build/dependencies.tar.gz. Any
other build takes the unpacked folder by
  -DCMAKE_PREFIX_PATH=FOLDER -DCMAKE_EXE_LINKER_FLAGS=-Wl,--disable-new-dtags
(an RPATH of the old kind, which also counts for what the libraries load themselves).
The C library there must be at least as new as the one here: pack on Debian 12 or Ubuntu 22.04.
END
}

fail() {
  printf 'pack_dependencies: %s\n' "$@" >&2
  exit 1
}

target=${1:-$root/build/dependencies.tar.gz}
case $target in
  -h | --help) usage && exit 0 ;;
  -*) usage >&2 && exit 2 ;;
  *.tar.gz) folder=$(mktemp -d) && trap 'rm -r "$folder"' EXIT ;;
  *) folder=$target && mkdir -p "$folder" ;;
esac
[[ -z $(ls -A "$folder") ]] || fail "$folder is not empty: remove it first"
command -v dpkg-query >/dev/null ||
  fail "this system has no dpkg: run it on Debian 12 or Ubuntu and carry the result here"
arch=$(dpkg-architecture -qDEB_HOST_MULTIARCH 2>/dev/null || gcc -print-multiarch)
libraries=$folder/lib/$arch
mkdir -p "$libraries" "$folder/share"

# copy_chain LINK: a library with every link on the way to it, all next to each other. The links of
# Debian's alternatives lead through /etc; what they mean is copied instead.
copy_chain() {
  local file=$1 next
  while [[ -L $file ]]; do
    next=$(readlink "$file")
    if [[ $next == */* ]]; then
      cp -n "$(readlink -f "$file")" "$libraries/${file##*/}"
      return
    fi
    cp -an "$file" "$libraries/"
    file=${file%/*}/$next
  done
  cp -n "$file" "$libraries/"
}

# copy_file FILE: to the same place in the folder, but headers of one architecture go where every
# compiler looks. A static library is left out when there is a shared one.
copy_file() {
  local file=$1 place
  case $file in
    /usr/include/"$arch"/*) place=include/${file#/usr/include/"$arch"/} ;;
    /usr/lib/"$arch"/pkgconfig/* | /usr/share/pkgconfig/*) return ;;
    *.so) copy_chain "$file" && return ;;
    *.a)
      [[ -e ${file%.a}.so ]] && return
      place=${file#/usr/}
      ;;
    /usr/include/* | /usr/lib/"$arch"/cmake/* | /usr/lib/cmake/*) place=${file#/usr/} ;;
    /usr/share/cmake/* | /usr/share/*/cmake/*) place=${file#/usr/} ;;
    *) return ;;
  esac
  mkdir -p "$folder/${place%/*}"
  cp -L "$file" "$folder/$place"
}

for package in "${packages[@]}"; do
  files=$(dpkg-query -L "$package" 2>/dev/null) ||
    fail "package $package is not installed: scripts/install_dependencies.sh installs it"
  while IFS= read -r file; do
    if [[ -f $file ]]; then copy_file "$file"; fi
  done <<<"$files"
done
# The name that a program asks for when it starts, where no link led through it.
for library in "$libraries"/*.so; do
  name=$(objdump -p "$library" | awk '$1 == "SONAME" { print $2 }')
  [[ -e $libraries/$name ]] || ln -s "${library##*/}" "$libraries/$name"
done

# What those libraries load, but for the C and C++ libraries, which belong to the compiler there.
while read -r name path; do
  case $name in
    libc.so* | libm.so* | libdl.so* | libpthread.so* | librt.so* | libresolv.so* | ld-linux* | \
      libgcc_s.so* | libstdc++.so*) ;;
    *) cp -Ln "$path" "$libraries/$name" ;;
  esac
done < <(ldd "$libraries"/*.so | awk '$2 == "=>" && $3 ~ /^\// { print $1, $3 }' | sort -u)

{
  echo "Made by scripts/pack_dependencies.sh on $(sed -n 's/^PRETTY_NAME=//p' /etc/os-release):"
  dpkg-query -W -f '${Package} ${Version}\n' "${packages[@]}"
} >"$folder/PACKAGES"

if [[ $target == *.tar.gz ]]; then
  mkdir -p "$(dirname "$target")"
  # One top folder, whatever the name of the temporary one.
  tar -C "$folder" --transform 's,^\.,dependencies,' --owner 0 --group 0 -cf - . | gzip -9 >"$target"
fi
echo "pack_dependencies: $target, $(du -sh "$target" | cut -f1)"
