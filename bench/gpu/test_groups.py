#!/usr/bin/env python3
"""The groups in which scripts/gpu_check.sh runs gpu_test, and what their logs say.

A group is a process: a crash, a fault that stays with the GPU's context, or a time limit costs the
rest of one group. Prints a line for each: name, seconds, GoogleTest's filter. A group leaves out
what the ones before it have, and the last has all the rest, so every test is in exactly one.
Python's standard library only.
"""

import re

# Name -> time limit in seconds, and the tests; what is most worth knowing comes first.
GROUPS = {
    "kernels": (40, ["*ElementsShim.*", "*FormatShim.*", "*ReluShim.*", "*BiasGradShim.*",
                      "*MaxPool2dShim.*", "*AdaptiveAvgPool2dShim.*", "*DropoutShim.*",
                      "*SoftmaxCrossEntropyShim.*", "*OptimizersShim.*", "*DepthToSpaceShim.*",
                      "*SpaceToDepthShim.Moves*", "*TransformSamplesShim.*"]),
    "streams": (15, ["*StreamShim.*", "*GraphShim.*", "*BufferShim.*", "*CopyShim.*",
                     "*TargetShim.*"]),
    "convolutions": (45, ["*Conv2d*", "*Convolution*", "*Cudnn*"]),
    "linear": (25, ["*Linear*"]),
    "layers": (25, ["*Layer*", "*AlexNet*"]),
    "engine": (40, ["*Engine*", "*Pipeline*"]),
    "program": (30, ["*"]),
}

RUN = re.compile(r"\[ RUN      \] ([\w/.]+)")
END = re.compile(r"\[ *(OK|FAILED|SKIPPED) *\] ([\w/.]+)")
SHOWN_LINES = 10


def filters():
    """Group -> GoogleTest's filter."""
    result, taken = {}, []
    for group, (_, patterns) in GROUPS.items():
        result[group] = ":".join(patterns) + ("-" + ":".join(taken) if taken else "")
        taken += patterns
    return result


def read_log(text):
    """What a test program printed, to its end or until it was stopped.

    `running`: the test that had begun and did not end, or None.
    """
    result = {"passed": [], "failed": [], "skipped": [], "running": None}
    name, output = None, []
    for line in text.splitlines():
        begun, ended = RUN.search(line), END.search(line)
        if begun:
            name, output = begun[1], []
        elif name and ended and ended[2] == name:
            # A test's own output may lack the end of its last line.
            output += [line[:ended.start()]] if ended.start() else []
            keep(result, ended[1], name, output)
            name = None
        elif name:
            output.append(line)
    if name:
        result["running"] = {"name": name, "output": output[-SHOWN_LINES:]}
    return result


def keep(result, word, name, output):
    if word == "OK":
        result["passed"].append(name)
    elif word == "FAILED":
        result["failed"].append({"name": name, "output": output[:SHOWN_LINES]})
    else:
        result["skipped"].append({"name": name, "why": why_skipped(output)})


def why_skipped(output):
    """The line after GoogleTest's "Skipped"."""
    for place, reason in zip(output, output[1:]):
        if place.endswith("Skipped"):
            return reason.strip()
    return "no reason given"


def read_list(text):
    """Names of the tests that --gtest_list_tests printed, each with its suite."""
    names, suite = [], None
    for line in text.splitlines():
        word = line.partition("#")[0].rstrip()
        if line.startswith("  ") and suite:
            names.append(suite + word.strip())
        elif word.endswith("."):
            suite = word
    return names


def main():
    for group, what in filters().items():
        print(group, GROUPS[group][0], what)


if __name__ == "__main__":
    main()
