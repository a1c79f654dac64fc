#!/usr/bin/env bash
# Runs every command of README.md's ```sh blocks, in a folder that looks like the repository and
# catches the files that they write. scripts/train.sh is made short there, and nothing is downloaded.
set -euo pipefail
root=$(cd -P "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
readme=$root/README.md
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT

fail() {
  echo "README.md: $*" >&2
  exit 1
}

# A copy made of links, but for train.sh.
mkdir "$work/copy" "$work/copy/scripts"
for entry in "$root"/*; do
  [[ ${entry##*/} == scripts ]] || ln -s "$entry" "$work/copy/"
done
for entry in "$root"/scripts/*; do
  [[ ${entry##*/} == train.sh ]] || ln -s "$entry" "$work/copy/scripts/"
done
# What the reader gives stays; what is left to a default becomes small.
cat >"$work/copy/scripts/train.sh" <<END
#!/usr/bin/env bash
given=" \$* "
add() { [[ \$given == *" \$1 "* ]] || small+=("\$@"); }
small=()
[[ \$given == *" --epochs "* ]] || add --steps 2
add --micro-batch-size 2
add --image-size 64
add --max-train-samples 64
add --max-test-samples 32
exec "$root/scripts/train.sh" "\$@" "\${small[@]}"
END
chmod +x "$work/copy/scripts/train.sh"

# A proxy that nobody answers at: data comes from the disk or is synthetic.
export https_proxy=http://127.0.0.1:9 http_proxy=http://127.0.0.1:9
unset no_proxy NO_PROXY
# More processes than cores, also from root, as in a container.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1

# One block per file.
awk -v folder="$work" '
  /^```sh$/ { inside = 1; ++blocks; next }
  /^```/ { inside = 0 }
  inside { print > sprintf("%s/block%02d.sh", folder, blocks) }' "$readme"

# Built beforehand, so that a time limit is one of the command alone.
"$root/scripts/install_dependencies.sh"
"$root/scripts/build.sh" release stagecoach

ran=0
for block in "$work"/block*.sh; do
  echo "== $(<"$block")"
  (cd "$work/copy" && timeout 120 bash -euo pipefail "$block" >"$work/output" 2>&1) ||
    fail "this failed with $?: $(<"$block")"$'\n'"$(<"$work/output")"
  grep -q . "$work/output" || [[ $(<"$block") == *--quiet* ]] || fail "no output: $(<"$block")"
  # Files that the block asked for.
  while read -r file; do
    [[ -s $work/copy/$file ]] || fail "$file was not written by: $(<"$block")"
  done < <(grep -oE -- '--(save|metrics|report|trace|svg) [^ ]+' "$block" | cut -d' ' -f2)
  ran=$((ran + 1))
done
((ran >= 3)) || fail "only $ran blocks of commands found"

# Every option that the text names exists.
program=$root/build/release/stagecoach
help=$("$program" train --help; "$program" simulate --help)
while read -r option; do
  case $option in --with-ci | --oversubscribe | --allow-run-as-root) continue ;; esac  # of others
  [[ $help == *"$option"[\ ,]* || $help == *"$option"$'\n'* ]] || fail "there is no option $option"
done < <(grep -oE -- '--[a-z][a-z-]+' "$readme" | sort -u)

# Every link into the repository leads somewhere.
while read -r link; do
  [[ -e $root/$link ]] || fail "$link does not exist"
done < <(grep -oE '\]\([^)#]+' "$readme" | cut -c3- | grep -v '^https:' | sort -u)

# Scripts that the text names can be started.
while read -r script; do
  [[ -x $root/$script ]] || fail "$script cannot be started"
  bash -n "$root/$script"
done < <(grep -oE '(scripts/[a-z_]+\.sh|\.ci/run)' "$readme" | sort -u)

echo "README.md: $ran blocks of commands ran"
