#!/usr/bin/env python3
"""Whether the weights of a training on a GPU are the same bits for every number of stages, by captured
graphs and launch by launch, and with the optimizer beside W: the SHA-256 of what `train --save` wrote.

The cut into micro-batches is the same everywhere, as it decides the bits on a GPU. A line of JSON is
printed for each run, at once, and one at the end. Exit status 1 where a run failed or two differ.
Python's standard library only.
"""

import argparse
import hashlib
import json
import os
import pathlib
import signal
import sys
import tempfile

import training
from training import RunError

STEPS = 5  # a step is captured after two


def words_of(stages, eager, overlap, arguments):
    return ["--data", "synthetic", "--device", "cuda", "--precision", arguments.precision,
            "--optimizer", "sgd", "--image-size", str(arguments.image_size), "--stages", str(stages),
            "--micro-batches", str(arguments.micro_batches), "--micro-batch-size",
            str(arguments.batch // arguments.micro_batches), "--steps", str(STEPS),
            *(["--partition", "uniform"] if stages > 1 else []),  # no time for measuring layers
            *(["--eager"] if eager else []), *(["--overlap"] if overlap else []), "--quiet"]


def digest(file):
    found = hashlib.sha256()
    with open(file, "rb") as stream:
        while block := stream.read(1 << 22):
            found.update(block)
    return found.hexdigest()


def run(stages, eager, overlap, arguments):
    with tempfile.TemporaryDirectory() as folder:
        weights = pathlib.Path(folder) / "weights.safetensors"
        words = [*words_of(stages, eager, overlap, arguments), "--save", str(weights)]
        report, _ = training.train(arguments.stagecoach.resolve(), words, os.environ,
                                   arguments.longest)
        launch = "eager" if eager else "graph"
        if report["launch"] != launch:
            raise RunError(f"the steps were launched as {report['launch']}, not as {launch}")
        return {"sha256": digest(weights), "loss": report["loss_last"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stagecoach", type=pathlib.Path, required=True, metavar="PROGRAM")
    parser.add_argument("--stages", type=lambda text: [int(k) for k in text.split(",")],
                        default=[0, 1, 2, 4], metavar="K,...")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--micro-batches", type=int, default=4)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--longest", type=float, default=40, help="seconds of a run")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # execute() ends what it started
    found, failed = set(), 0
    runs = [(stages, eager, False) for eager in (False, True) for stages in arguments.stages]
    runs += [(stages, False, True) for stages in arguments.stages if stages in (1, 2)]  # no time for more
    for stages, eager, overlap in runs:
        line = {"stages": stages,
                "launch": ("eager" if eager else "graph") + (", --overlap" if overlap else "")}
        try:
            line.update(run(stages, eager, overlap, arguments))
            found.add(line["sha256"])
        except (RunError, OSError, ValueError, KeyError) as error:
            line["error"] = str(error) if isinstance(error, RunError) else repr(error)
            failed += 1
        print(json.dumps(line), flush=True)
    print(json.dumps({"batch": arguments.batch, "micro_batches": arguments.micro_batches,
                      "steps": STEPS, "image_size": arguments.image_size,
                      "precision": arguments.precision, "different": len(found)}))
    return 0 if len(found) == 1 and not failed else 1


if __name__ == "__main__":
    sys.exit(main())
