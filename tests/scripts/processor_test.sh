#!/usr/bin/env bash
# What the program says on a processor that is too old for it, and to STAGECOACH_SIMD:
# processor_test.sh BUILD_FOLDER
set -euo pipefail
program=$1/stagecoach

fail() {
  echo "processor_test: $*" >&2
  exit 1
}

# says WHAT COMMAND...: it fails, with these words in its errors.
says() {
  local words=$1 errors
  shift
  if errors=$("$@" 2>&1 >/dev/null); then fail "$* succeeds"; fi
  [[ $errors == *"$words"* ]] || fail "$*: expected '$words', got '$errors'"
}

says "STAGECOACH_SIMD: expected one of this processor's: " env STAGECOACH_SIMD=abacus "$program" info
best=$("$program" info | awk '$1 == "instructions" { print $2 }')
[[ -n $best ]] || fail "info names no instruction set"
STAGECOACH_SIMD=$best "$program" info | grep -q "^instructions  *$best of " || fail "$best is not taken"

if [[ $(uname -m) != x86_64 ]] || ! command -v qemu-x86_64 >/dev/null; then
  echo "skipped: an old processor, as there is no qemu-x86_64 here (apt-get install qemu-user)"
  exit 77
fi
says "expected a processor with AVX2 and FMA" qemu-x86_64 -cpu Nehalem "$program" info
echo "processor_test: passed"
