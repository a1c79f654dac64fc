#!/usr/bin/env python3
"""The memory that a training plans, beside what the driver says is in use while it runs.

The difference is what no plan holds: the context, the code of the kernels, and the libraries' own
memory. Prints a line of JSON for each batch. Exit status 1 where a run failed, or the driver says that
less is in use than planned. Python's standard library only.
"""

import argparse
import json
import os
import pathlib
import signal
import sys

import clocks
import training
from training import RunError

MIB = 1 << 20


def measure(batch, stages, arguments):
    """A dictionary of MiB."""
    words = ["--data", "synthetic", "--device", "cuda", "--precision", "bf16", "--optimizer", "sgd",
             "--image-size", str(arguments.image_size), "--stages", str(stages), "--micro-batches", "1",
             "--micro-batch-size", str(batch), "--steps", str(training.FOREVER), "--max-minutes",
             f"{arguments.seconds / 60:.5f}", "--quiet"]
    before = clocks.sample().get("memory_mib")
    if before is None:
        raise RunError("nvidia-smi does not say how much memory is in use")
    with clocks.Watch(0.2) as watch:
        report, _ = training.train(arguments.stagecoach.resolve(), words, os.environ, 60)
    planned = sum(stage["planned_bytes"] for stage in report["memory"])
    result = {"planned_mib": planned / MIB, "loader_mib": report["loader_bytes"] / MIB,
              "used_mib": watch.most("memory_mib") - before}
    result["beside_the_plan_mib"] = (result["used_mib"] - result["planned_mib"] -
                                     result["loader_mib"])
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stagecoach", type=pathlib.Path, required=True, metavar="PROGRAM")
    parser.add_argument("--batches", type=lambda text: [int(n) for n in text.split(",")],
                        default=[128, 1024], metavar="N,...")
    parser.add_argument("--stages", type=lambda text: [int(k) for k in text.split(",")],
                        default=[0, 2], metavar="K,...")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--seconds", type=float, default=2)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # execute() ends what it started
    bad = 0
    for batch in arguments.batches:
        for stages in arguments.stages:
            line = {"batch": batch, "stages": stages}
            try:
                line.update(measure(batch, stages, arguments))
                bad += line["beside_the_plan_mib"] < 0
            except (RunError, OSError, ValueError, KeyError, TypeError) as error:
                line["error"] = str(error) if isinstance(error, RunError) else repr(error)
                bad += 1
            print(json.dumps(line), flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
