#!/usr/bin/env python3
"""Runs the GPU tests of a build folder under a tool of NVIDIA's compute-sanitizer.

Only own kernels are instrumented (those in a namespace `stagecoach`): the libraries' would take
hours. Tests of whole training runs are left out. Exit status 0 when there were tests and every
program passed without a finding. Python's standard library only.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys

# Too long under a sanitizer, and made of the same kernels as the others.
LARGE = r"^trainer\.|Engine|Loader|AlexNet|Large"
# The sanitizer's exit status when it found something.
FOUND = 9


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", help="build folder, such as build/cuda")
    parser.add_argument("--tool", default="memcheck",
                        choices=("memcheck", "racecheck", "initcheck", "synccheck"))
    parser.add_argument("--sanitizer", default="compute-sanitizer", metavar="PROGRAM")
    parser.add_argument("--skip", default=LARGE, metavar="REGEX", help="tests to leave out")
    return parser.parse_args()


def gpu_tests(build, skip):
    """Test program -> names of its GPU tests as GoogleTest's filter wants them."""
    listed = subprocess.run(["ctest", "--test-dir", build, "-L", "^gpu$", "--show-only=json-v1"],
                            capture_output=True, text=True, check=True)
    programs, left_out = {}, []
    for test in json.loads(listed.stdout)["tests"]:
        if re.search(skip, test["name"]):
            left_out.append(test["name"])
            continue
        program, *options = test["command"]
        for option in options:
            if option.startswith("--gtest_filter="):
                programs.setdefault(program, []).append(option.partition("=")[2])
    return programs, left_out


def sanitizer_command(arguments):
    command = [arguments.sanitizer, "--tool", arguments.tool, "--error-exitcode", str(FOUND)]
    known = subprocess.run([arguments.sanitizer, "--help"], capture_output=True, text=True,
                           check=False)
    known = known.stdout + known.stderr
    # Another spelling in another version must not cost the run: it is slower without.
    for option, value in (("--kernel-name", "kernel_substring=stagecoach"),
                          ("--kernel-regex", "kns=stagecoach")):
        if option in known:
            return [*command, option, value]
    print("this compute-sanitizer has no filter for kernels: all are checked", flush=True)
    return command


def main():
    arguments = parse_arguments()
    if not shutil.which(arguments.sanitizer):
        print(f"{arguments.sanitizer} is not on PATH: it comes with the CUDA toolkit",
              file=sys.stderr)
        return 1
    programs, left_out = gpu_tests(arguments.build, arguments.skip)
    print(f"{sum(map(len, programs.values()))} tests of {len(programs)} programs; left out as too "
          f"large: {', '.join(left_out) or 'none'}", flush=True)
    if not programs:
        print("no GPU test to run: the label gpu is on none", file=sys.stderr)
        return 1
    command = sanitizer_command(arguments)
    failed = []
    for program, tests in programs.items():
        line = [*command, program, f"--gtest_filter={':'.join(tests)}"]
        print("+", *line, flush=True)
        status = subprocess.run(line, check=False).returncode
        if status != 0:
            what = "findings" if status == FOUND else f"exit status {status}"
            failed.append(f"{program}: {what}")
    print("\n".join(failed) or f"{arguments.tool}: nothing found")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
