#!/usr/bin/env bash
# scripts/install_dependencies.sh on machines that are made up: its PATH holds only the stand-ins
# below, so nothing is installed here.
set -euo pipefail
root=$(cd -P "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
bin=$work/bin
bash=$(command -v bash)
failures=0

expect() { # expect WHAT COMMAND...: the command succeeds
  local what=$1
  shift
  if ! "$@"; then
    printf 'FAILED: %s: %s\n--- output\n%s\n--- log\n%s\n' "$name" "$what" "$output" "$log"
    failures=$((failures + 1))
  fi
}
matches() { [[ $1 == *"$2"* ]]; }
lacks() { [[ $1 != *"$2"* ]]; }

stand_in() { # stand_in NAME: the script on stdin
  { echo "#!$bash" && cat; } >"$bin/$1"
  chmod +x "$bin/$1"
}

# machine NAME USER_ID MISSING: a Debian on which MISSING (a pattern) is not installed.
machine() {
  name=$1
  rm -rf "$bin"
  mkdir "$bin"
  : >"$work/log"
  for tool in env grep cat; do ln -s "$(command -v $tool)" "$bin/$tool"; done
  ln -s "$bash" "$bin/bash"
  stand_in id <<<"echo $2"
  stand_in dpkg-query <<END
case "\${@: -1}" in
  $3) echo config-files; exit 0 ;;
  *) echo installed ;;
esac
END
  stand_in apt-get <<END
echo "apt-get frontend=\$DEBIAN_FRONTEND \$*" >>$work/log
END
  # Like the real one, it clears the environment.
  stand_in sudo <<END
echo "sudo \$*" >>$work/log
exec env -i PATH="\$PATH" "\$@"
END
}

run() { # sets status, output, log
  status=0
  output=$(PATH=$bin bash "$root/scripts/install_dependencies.sh" "$@" 2>&1) || status=$?
  log=$(<"$work/log")
}

machine "complete" 0 none
run
expect "succeeds" test "$status" = 0
expect "prints nothing" test -z "$output"
expect "installs nothing" test -z "$log"

machine "root, two packages missing" 0 'libfmt-dev|ninja-build'
run
expect "succeeds" test "$status" = 0
expect "names them" matches "$output" "installing ninja-build libfmt-dev"
expect "updates once, then installs these two" test "$log" = \
  "apt-get frontend=noninteractive -y update -q
apt-get frontend=noninteractive -y install -q --no-install-recommends ninja-build libfmt-dev"

machine "user with sudo" 1000 cmake
run
expect "succeeds" test "$status" = 0
expect "asks sudo" matches "$log" "sudo env DEBIAN_FRONTEND=noninteractive apt-get -y install"
expect "asks no questions" matches "$log" "frontend=noninteractive -y install -q --no-install-recommends cmake"

machine "user without sudo" 1000 cmake
rm "$bin/sudo"
run
expect "fails" test "$status" = 1
expect "says what to do" matches "$output" "apt-get install --no-install-recommends cmake"
expect "installs nothing" test -z "$log"

machine "complete, user without sudo" 1000 none
rm "$bin/sudo"
run
expect "succeeds" test "$status" = 0

machine "no apt" 0 none
rm "$bin/apt-get" "$bin/dpkg-query"
run
expect "fails" test "$status" = 1
expect "lists the packages" matches "$output" "libhwy-dev"
expect "names the way out" matches "$output" "STAGECOACH_SKIP_INSTALL=1"
STAGECOACH_SKIP_INSTALL=1 run
expect "can be skipped" test "$status" = 0

machine "only the tools of CI missing" 0 clang-format-14
run
expect "not needed for training" test -z "$log"
run --with-ci
expect "needed for CI" matches "$log" "install -q --no-install-recommends clang-format-14"

machine "offline, but the package is in the cache" 0 cmake
stand_in apt-get <<END
echo "\$*" >>$work/log
[[ \$* != *update* ]]
END
run
expect "succeeds" test "$status" = 0
expect "says so" matches "$output" "apt-get update failed; trying anyway"
expect "installs" matches "$log" "install -q --no-install-recommends cmake"

machine "installation fails" 0 cmake
stand_in apt-get <<<'[[ $* == *update* ]]'
run
expect "fails" test "$status" = 1
expect "names what" matches "$output" "could not install: cmake"

machine "unknown option" 0 cmake
run --everything
expect "usage error" test "$status" = 2
expect "installs nothing" test -z "$log"
run --help
expect "help succeeds" test "$status" = 0
expect "help is help" matches "$output" "usage: scripts/install_dependencies.sh"
expect "help installs nothing" test -z "$log"

machine "every package is explained" 0 '*'
run --with-ci
for package in ${output#*installing }; do
  expect "third_party/README.md explains $package" grep -qF "\`$package\`" "$root/third_party/README.md"
done
expect "there are packages" matches "$output" "g++ cmake"

if ((failures > 0)); then
  echo "$failures checks failed"
  exit 1
fi
echo "install_dependencies: all checks hold"
