#!/usr/bin/env bash
# Packs what scripts/gpu_check.sh needs beside the sources, for a machine with a GPU that has neither this
# project's packages nor a network. scripts/pack_gpu_day.sh --help
set -euo pipefail
root=$(cd -P "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
train_images=9000 test_images=1000
record_bytes=3073 file_records=10000  # of CIFAR-10's binary version
limit_mib=64

usage() {
  cat <<'END'
usage: scripts/pack_gpu_day.sh [--limit MIB]
Makes, in build/, what is carried to the other machine together with the sources (git ls-files):
  dependencies.tar.gz  the libraries: scripts/pack_dependencies.sh; kept where it is newer than that
  images.tar.gz        10,000 images of CIFAR-10, 9,000 for training and 1,000 for tests, from
                       $CIFAR10_DIR or the cache folder (~/.cache/stagecoach), where `stagecoach train`
                       has left it; the rest of each file is zeros. They stay out of the repository.
  commit               the commit that is packed
and says how large it all is. More than MIB (default: 64) is an error.
END
}

fail() {
  printf 'pack_gpu_day: %s\n' "$@" >&2
  exit 1
}

while (($# > 0)); do
  case $1 in
    --limit) limit_mib=${2:?--limit needs a number of MiB} && shift ;;
    -h | --help) usage && exit 0 ;;
    *) usage >&2 && exit 2 ;;
  esac
  shift
done
mkdir -p build

find_images() {
  local cache=${XDG_CACHE_HOME:-$HOME/.cache}/stagecoach place folder
  for place in ${CIFAR10_DIR:+"$CIFAR10_DIR"} "$cache"; do
    for folder in "$place" "$place/cifar-10-batches-bin"; do
      if [[ -f $folder/data_batch_1.bin && -f $folder/test_batch.bin ]]; then
        echo "$folder"
        return
      fi
    done
  done
  fail "no CIFAR-10 in \$CIFAR10_DIR or the cache folder: \`stagecoach train --data cifar10 --steps 1\`" \
    "fetches it"
}

# first IMAGES FILE NAME: a file of the full size, which is what Stagecoach reads.
first() {
  head -c $(($1 * record_bytes)) "$2" >"$work/images/$3"
  truncate -s $((file_records * record_bytes)) "$work/images/$3"
}

work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
images=$(find_images)
mkdir "$work/images"
first "$train_images" "$images/data_batch_1.bin" data_batch_1.bin
first "$test_images" "$images/test_batch.bin" test_batch.bin
tar -C "$work" --owner 0 --group 0 -czf build/images.tar.gz images

if [[ ! build/dependencies.tar.gz -nt scripts/pack_dependencies.sh ]]; then
  scripts/pack_dependencies.sh build/dependencies.tar.gz
fi

commit=$(git rev-parse --short=12 HEAD)
[[ -z $(git status --porcelain) ]] || commit+=" with uncommitted changes"
echo "$commit" >build/commit

# Also what is not committed yet travels, as a copy of the working tree has it.
sources=$(git ls-files -z --cached --others --exclude-standard | xargs -0 du -cb 2>/dev/null | tail -n 1 |
  cut -f 1)
total=$sources
printf 'pack_gpu_day: %-32s %9d bytes\n' sources "$sources"
for file in build/dependencies.tar.gz build/images.tar.gz build/commit; do
  bytes=$(stat -c %s "$file")
  total=$((total + bytes))
  printf 'pack_gpu_day: %-32s %9d bytes\n' "$file" "$bytes"
done
printf 'pack_gpu_day: %-32s %9d bytes, of at most %d\n' together "$total" $((limit_mib << 20))
((total <= limit_mib << 20)) || fail "that is more than $limit_mib MiB: carry less"
