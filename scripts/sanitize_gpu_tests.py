#!/usr/bin/env python3
"""Runs GPU tests, or what stands behind --, under a tool of NVIDIA's compute-sanitizer.

Only own kernels are instrumented (those in a namespace `stagecoach`): the libraries' would take
hours. Tests of whole training runs, and those that mostly run libraries, are left out. Exit status
0 when there were tests and all passed without a finding. Python's standard library only.
"""

import argparse
import shutil
import subprocess
import sys

# Too long under a sanitizer and made of the same kernels as the others, or a library's.
LARGE = ("*Engine*:*Pipeline*:*Program*:*Loader*:*Layer*:*AlexNet*:*Large*:*Conv2d*:*Convolution*:"
         "*Linear*:*Cudnn*")
# The sanitizer's exit status when it found something.
FOUND = 9


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", help="test program, such as build/cuda/gpu_test")
    # No racecheck: it looks at shared memory, which no kernel here has.
    parser.add_argument("--tool", default="memcheck",
                        choices=("memcheck", "initcheck", "synccheck"))
    parser.add_argument("--sanitizer", default="compute-sanitizer", metavar="PROGRAM")
    parser.add_argument("--skip", default=LARGE, metavar="FILTER",
                        help="GoogleTest's patterns of tests to leave out")
    parser.add_argument("arguments", nargs="*", metavar="-- ARGUMENT",
                        help="of the program, which is then no test program")
    return parser.parse_args()


def count_tests(command):
    listed = subprocess.run([*command, "--gtest_list_tests"], capture_output=True, text=True,
                            check=True)
    return sum(line.startswith("  ") for line in listed.stdout.splitlines())


def sanitizer_command(arguments):
    command = [arguments.sanitizer, "--tool", arguments.tool, "--error-exitcode", str(FOUND)]
    if arguments.tool == "memcheck":
        # Tests provoke errors on purpose, libraries probe, and the code checks every status itself.
        command += ["--report-api-errors", "no"]
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
    tests = [arguments.program, *arguments.arguments]
    if not arguments.arguments:
        tests.append(f"--gtest_filter=-{arguments.skip}")
        count = count_tests(tests)
        print(f"{count} tests; left out as too large, or a library's: {arguments.skip}", flush=True)
        if count == 0:
            print("no GPU test to run", file=sys.stderr)
            return 1
    command = [*sanitizer_command(arguments), *tests]
    print("+", *command, flush=True)
    status = subprocess.run(command, check=False).returncode
    if status != 0:
        print("findings" if status == FOUND else f"exit status {status}")
        return 1
    print(f"{arguments.tool}: nothing found")
    return 0


if __name__ == "__main__":
    sys.exit(main())
