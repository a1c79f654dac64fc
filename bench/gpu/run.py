#!/usr/bin/env python3
"""Training on a GPU: Stagecoach beside PyTorch, in alternating rounds on the same machine.

A round begins with what is most worth knowing: batches 128 and 1024, the pipelines, the other
batches, algorithms timed by --tune, torch.compile. For a batch it runs PyTorch's settings (one
process), then Stagecoach's (a process each). Figures are medians over the rounds, ratios are those
of the same round. What was measured is written after every run, so that a run cut short by its
time limit loses nothing, and --continue goes on from there. Python's standard library only; PyTorch
runs in torch_step.py.
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

    def facts(self):
        return [{"program": "stagecoach", "setting": self.name, "batch": self.batch,
                 "precision": self.precision, "stages": self.stages,
                 "micro_batches": self.micro_batches}]

    def words(self):
        return ["--data", "synthetic", "--device", "cuda", "--precision", self.precision,
                "--optimizer", "sgd",
                "--stages", str(self.stages), "--micro-batches", str(self.micro_batches),
                "--micro-batch-size", str(self.batch),
                "--steps", str(steps_for(self.batch * self.micro_batches, self.precision)),
                *self.options, "--quiet"]


def steps_for(images, precision):
    """Half a second of steps at the roofline, from 20 to 100."""
    return max(20, min(100, round(0.5 / roofline.ideal_seconds(images, precision))))


@dataclasses.dataclass(frozen=True)
class Torch:
    """Settings of torch_step.py that share a process."""
    batch: int
    settings: tuple

    def facts(self):
        return [{"program": "torch", "setting": setting, "batch": self.batch}
                for setting in self.settings]


def plan(batches, torch_settings):
    """What a round runs, what is most worth knowing first."""
    compiled = tuple(name for name in torch_settings if "compile" in name)
    plain = tuple(name for name in torch_settings if name not in compiled)

    def side_by_side(batch):
        yield Torch(batch, plain)
        yield from (Stagecoach(precision, batch) for precision in PRECISIONS)
        yield from (Stagecoach(precision, batch, ("--eager",)) for precision in PRECISIONS)

    for batch in batches[:2]:
        yield from side_by_side(batch)
    for stages in (0, 2, 4):
        yield Stagecoach("bf16", PIPELINE_BATCH, stages=stages,
                         micro_batches=PIPELINE_MICRO_BATCHES)
    for batch in batches[2:]:
        yield from side_by_side(batch)
    for batch in batches:
        yield from (Stagecoach(precision, batch, ("--tune",)) for precision in PRECISIONS[:2])
    for batch in batches:
        yield Torch(batch, compiled)


class OutOfTime(RunError):
    pass


def json_lines(text):
    """The last line may be cut."""
    for line in text.splitlines():
        try:
            if line.startswith("{"):
                yield json.loads(line)
        except ValueError:
            pass


class Runner:
    def __init__(self, arguments, record):
        self.arguments, self.record = arguments, record
        self.end = time.monotonic() + arguments.time_limit
        self.environment = {k: v for k, v in os.environ.items() if k not in CLEARED}

    def run(self, command, title):
        """Its output; throws RunError when it fails, OutOfTime when the time is over."""
        rest = self.end - time.monotonic()
        if rest < 10:
            raise OutOfTime("not begun")
        print(f"{title}: {shlex.join(command)}", file=sys.stderr, flush=True)
        try:
            return execute(command, self.environment, min(rest, LONGEST_RUN))
        except RunError as error:
            if time.monotonic() < self.end:
                raise
            raise OutOfTime(str(error), error.output) from None

    def torch(self, facts):
        """A result for each of `facts`; None where the time was over before it."""
        settings = ",".join(fact["setting"] for fact in facts)
        words = ["bench/gpu/torch_step.py", "--settings", settings,
                 "--batch", str(facts[0]["batch"])]
        otherwise = {"error": "printed no JSON line"}
        try:
            output = self.run([self.arguments.torch_python, str(ROOT / words[0]), *words[1:]],
                              f"round {facts[0]['round']}")
        except OutOfTime as error:
            output, otherwise = error.output, None
        except RunError as error:
            output, otherwise = error.output, {"error": str(error)}
        except OSError as error:
            output, otherwise = "", {"error": str(error)}
        results = {line["setting"]: line for line in json_lines(output)}
        for fact in facts:
            result = results.get(fact["setting"], otherwise)
            yield result and {**result, "command": shlex.join(["python", *words])}

    def stagecoach(self, number, setting):
        """Its result; None when the time is over."""
        try:
            with tempfile.TemporaryDirectory() as folder:
                report = pathlib.Path(folder) / "report.json"
                self.run([str(self.arguments.stagecoach.resolve()), "train", *setting.words(),
                          "--report", str(report)], f"round {number}")
                result = self.from_report(json.loads(report.read_text()), setting)
        except OutOfTime:
            return None
        except (RunError, OSError, ValueError, KeyError) as error:
            result = {"error": str(error) if isinstance(error, RunError) else repr(error)}
        return {**result, "command": shlex.join(["stagecoach", "train", *setting.words()])}

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

    def keep(self, run):
        shown = run.get("error") or run.get("not_run") or f"{run['images_per_second']:.0f} images/s"
        print(f"  {run['program']} {run['setting']}: {shown}", file=sys.stderr, flush=True)
        self.record["runs"].append(run)
        write(self.record, self.arguments.output)

    def round(self, number):
        """All that this round does not have yet; what the time did not allow is `not_reached`."""
        had = {tables.configuration(run) for run in self.record["runs"] if run["round"] == number}
        for job in plan(self.arguments.batches, self.arguments.torch_settings):
            facts = [{"round": number, **fact} for fact in job.facts()
                     if tables.configuration(fact) not in had]
            if not facts:
                continue
            results = self.torch(facts) if isinstance(job, Torch) else \
                [self.stagecoach(number, job)]
            for fact, result in zip(facts, results):
                if result:
                    self.keep({**fact, **result})
                else:
                    self.record["not_reached"].append(fact)


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
                        default=[128, 1024, 32, 512], metavar="N,...",
                        help="the pipelines follow the second")
    parser.add_argument("--rounds", type=int, default=3, help="at most")
    parser.add_argument("--time-limit", type=float, default=560, metavar="SECONDS")
    parser.add_argument("--torch-python", default=sys.executable, metavar="PROGRAM",
                        help="a Python that has PyTorch")
    parser.add_argument("--torch-settings", type=lambda text: text.split(",") if text else [],
                        default=TORCH.split(","), metavar="NAME,...",
                        help="of torch_step.py; empty: Stagecoach alone")
    parser.add_argument("--output", type=pathlib.Path, required=True, metavar="FILE",
                        help="writes FILE.json and FILE.md")
    parser.add_argument("--continue", action="store_true", dest="go_on",
                        help="runs what FILE.json, of the same commit, does not have yet")
    arguments = parser.parse_args()
    if not os.access(arguments.stagecoach, os.X_OK):
        parser.error(f"--stagecoach: {arguments.stagecoach} is not a program")
    return arguments


def earlier_runs(file, commit):
    """Of an earlier call, which may have been stopped anywhere."""
    if not file.exists():
        return []
    earlier = json.loads(file.read_text())
    if earlier["commit"] != commit:
        sys.exit(f"run.py: {file} is of commit {earlier['commit']}, not of {commit}: remove it, or "
                 "give another --output")
    return earlier["runs"]


def main():
    arguments = parse_arguments()
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    commit = os.environ.get("STAGECOACH_COMMIT") or git("rev-parse", "--short=12", "HEAD")
    record = {
        "command": shlex.join(["python", "bench/gpu/run.py",
                               *(word.replace(f"{ROOT}/", "") for word in sys.argv[1:])]),
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": commit, "batches": arguments.batches, "not_reached": [],
        "runs": earlier_runs(pathlib.Path(f"{arguments.output}.json"), commit)
        if arguments.go_on else [],
    }
    runner = Runner(arguments, record)
    for number in range(1, arguments.rounds + 1):
        runner.round(number)
        if record["not_reached"]:
            break
    write(record, arguments.output)
    print(tables.training(record))
    bad = [run for run in record["runs"] if run.get("error")]
    return 1 if bad or not record["runs"] else 0


if __name__ == "__main__":
    sys.exit(main())
