#!/usr/bin/env python3
"""Training on a GPU: Stagecoach beside PyTorch, in alternating rounds on the same machine.

A round goes through the batch sizes; for each it runs PyTorch's settings (one process), then
Stagecoach's (a process each); then the pipelines. Figures are medians over the rounds, ratios are
those of the same round. What was measured is written after every run, so that a run cut short by
its time limit loses nothing. Python's standard library only; PyTorch runs in torch_step.py.
"""

import argparse
import dataclasses
import datetime
import json
import os
import pathlib
import shlex
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE.parent / "peers"))
import roofline  # noqa: E402
import tables  # noqa: E402
from run_peers import CLEARED, RunError, execute, git  # noqa: E402

PRECISIONS = ("bf16", "tf32", "fp32")
TORCH = "default,fp32,tf32,tf32-graph,bf16,bf16-compile,bf16-graph"
PIPELINE_BATCH, PIPELINE_MICRO_BATCHES = 32, 8
LONGEST_RUN = 150  # seconds; torch.compile's first run is the slow one


@dataclasses.dataclass(frozen=True)
class Stagecoach:
    precision: str
    batch: int
    options: tuple = ()
    stages: int = 0
    micro_batches: int = 1

    @property
    def name(self):
        kind = "".join(f" {option}" for option in self.options)
        return f"{self.precision}{kind}"

    def words(self):
        return ["--data", "synthetic", "--device", "cuda", "--precision", self.precision,
                "--stages", str(self.stages), "--micro-batches", str(self.micro_batches),
                "--micro-batch-size", str(self.batch),
                "--steps", str(steps_for(self.batch * self.micro_batches, self.precision)),
                *self.options, "--quiet"]


def steps_for(images, precision):
    """Half a second of steps at the roofline, from 20 to 100."""
    return max(20, min(100, round(0.5 / roofline.ideal_seconds(images, precision))))


def plain_settings(batch):
    yield from (Stagecoach(precision, batch) for precision in PRECISIONS)
    yield from (Stagecoach(precision, batch, ("--eager",)) for precision in PRECISIONS)
    yield from (Stagecoach(precision, batch, ("--tune",)) for precision in PRECISIONS[:2])


def pipeline_settings():
    yield Stagecoach("bf16", PIPELINE_BATCH, micro_batches=PIPELINE_MICRO_BATCHES)
    for stages in (2, 4):
        yield Stagecoach("bf16", PIPELINE_BATCH, stages=stages,
                         micro_batches=PIPELINE_MICRO_BATCHES)


class Runner:
    def __init__(self, arguments, record):
        self.arguments, self.record = arguments, record
        self.end = time.monotonic() + arguments.time_limit
        self.environment = {k: v for k, v in os.environ.items() if k not in CLEARED}

    def run(self, command, title):
        """Its output; throws RunError when it fails or the time is over."""
        rest = self.end - time.monotonic()
        if rest < 10:
            raise RunError(tables.OUT_OF_TIME)
        print(f"{title}: {shlex.join(command)}", file=sys.stderr, flush=True)
        return execute(command, self.environment, min(rest, LONGEST_RUN))

    def torch(self, number, batch):
        words = ["bench/gpu/torch_step.py", "--settings", self.arguments.torch_settings,
                 "--batch", str(batch)]
        facts = {"round": number, "program": "torch", "batch": batch,
                 "command": shlex.join(["python", *words])}
        try:
            output = self.run([self.arguments.torch_python, str(ROOT / words[0]), *words[1:]],
                              f"round {number}")
            results = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
            if not results:
                raise RunError("printed no JSON line")
        except (RunError, OSError, ValueError) as error:
            results = [{"setting": setting, "error": str(error)}
                       for setting in self.arguments.torch_settings.split(",")]
        self.keep(*({**facts, **result} for result in results))

    def stagecoach(self, number, setting):
        facts = {"round": number, "program": "stagecoach", "setting": setting.name,
                 "batch": setting.batch, "precision": setting.precision,
                 "stages": setting.stages, "micro_batches": setting.micro_batches,
                 "command": shlex.join(["stagecoach", "train", *setting.words()])}
        try:
            with tempfile.TemporaryDirectory() as folder:
                report = pathlib.Path(folder) / "report.json"
                self.run([str(self.arguments.stagecoach.resolve()), "train", *setting.words(),
                          "--report", str(report)], f"round {number}")
                result = self.from_report(json.loads(report.read_text()), setting)
        except (RunError, OSError, ValueError, KeyError) as error:
            result = {"error": str(error) if isinstance(error, RunError) else repr(error)}
        self.keep({**facts, **result})

    @staticmethod
    def from_report(report, setting):
        # A run that quietly used something else must not pass for this one.
        if not report["device"].startswith("cuda"):
            raise RunError(f"ran on {report['device']}, not on a GPU")
        if report.get("precision", setting.precision) != setting.precision:
            raise RunError(f"ran in {report['precision']}")
        launch = "eager" if "--eager" in setting.options else "graph"
        if setting.stages == 0 and report.get("launch", launch) != launch:
            raise RunError(f"the step was launched as {report['launch']}, not as {launch}")
        keys = ("images_per_second", "step_seconds_median", "loss_last", "device", "data_waits",
                "data_wait_seconds", "bubble", "stages", "memory", "steps")
        result = {key: report.get(key) for key in keys}
        result["stage_times"] = result.pop("stages")
        return result

    def keep(self, *results):
        for result in results:
            shown = result.get("error") or result.get("not_run") or \
                f"{result['images_per_second']:.0f} images/s"
            print(f"  {result['program']} {result['setting']}: {shown}", file=sys.stderr, flush=True)
        self.record["runs"] += results
        write(self.record, self.arguments.output)

    def round(self, number):
        for batch in self.arguments.batches:
            if self.arguments.torch_settings:
                self.torch(number, batch)
            for setting in plain_settings(batch):
                self.stagecoach(number, setting)
        for setting in pipeline_settings():
            self.stagecoach(number, setting)


def write(record, stem):
    """FILE.json, then FILE.md from it; whole files only."""
    for suffix, text in ((".json", json.dumps(record, indent=1) + "\n"),
                         (".md", tables.training(record))):
        temporary = pathlib.Path(f"{stem}{suffix}.part")
        temporary.write_text(text)
        temporary.replace(f"{stem}{suffix}")


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stagecoach", type=pathlib.Path, required=True, metavar="PROGRAM")
    parser.add_argument("--batches", type=lambda text: [int(n) for n in text.split(",")],
                        default=[32, 128, 512, 1024], metavar="N,...")
    parser.add_argument("--rounds", type=int, default=3, help="at most")
    parser.add_argument("--time-limit", type=float, default=560, metavar="SECONDS")
    parser.add_argument("--torch-python", default=sys.executable, metavar="PROGRAM",
                        help="a Python that has PyTorch")
    parser.add_argument("--torch-settings", default=TORCH, metavar="NAME,...",
                        help="of torch_step.py; empty: Stagecoach alone")
    parser.add_argument("--output", type=pathlib.Path, required=True, metavar="FILE",
                        help="writes FILE.json and FILE.md")
    arguments = parser.parse_args()
    if not os.access(arguments.stagecoach, os.X_OK):
        parser.error(f"--stagecoach: {arguments.stagecoach} is not a program")
    return arguments


def main():
    arguments = parse_arguments()
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    record = {
        "command": shlex.join(["python", "bench/gpu/run.py",
                               *(word.replace(f"{ROOT}/", "") for word in sys.argv[1:])]),
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": os.environ.get("STAGECOACH_COMMIT") or git("rev-parse", "--short=12", "HEAD"),
        "batches": arguments.batches, "runs": [],
    }
    runner = Runner(arguments, record)
    started = time.monotonic()
    for number in range(1, arguments.rounds + 1):
        begun = time.monotonic()
        # A round that would be cut in half is better not begun.
        if number > 1 and runner.end - begun < 1.05 * (begun - started) / (number - 1):
            break
        runner.round(number)
    print(tables.training(record))
    bad = [run for run in record["runs"] if run.get("error")]
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
