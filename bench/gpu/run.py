#!/usr/bin/env python3
"""Training on a GPU: Stagecoach beside PyTorch, in alternating rounds on the same machine.

--plan step: batches as --batches has them, each with PyTorch's settings in one process and then
Stagecoach's, a process each; then steps of eight micro-batches. --plan more: pipelines, algorithms
timed by --tune, torch.compile, TF32 and fp32. What is most worth knowing comes first. A run lasts
--seconds, of which the first one does not count, so the GPU's clocks have risen; what the driver says
of them stands beside it. Figures are medians over the rounds, ratios are those of the same round. What
was measured is written after every run, so that a run cut short by its time limit loses nothing, and
--continue goes on from there. Python's standard library only; PyTorch runs in torch_step.py.
"""

import argparse
import dataclasses
import datetime
import json
import os
import pathlib
import shlex
import signal
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE.parent / "peers"))
import clocks  # noqa: E402
import tables  # noqa: E402
import training  # noqa: E402
from run_peers import CLEARED, RunError, commit, execute  # noqa: E402

# PyTorch's best first. "images": its images are resized on the GPU in every step, as ours are.
STEP_SETTINGS = ("bf16-graph", "bf16-graph-images", "bf16", "default")
MICRO_BATCHES, MICRO_BATCH_SIZES = 8, (16, 32)
DROPPED_SECONDS = 1.0  # of a run: the clocks rise
LONGEST_RUN = 150  # seconds; torch.compile's first run is the slow one
MARGIN = 10  # seconds that a step keeps of its limit, to write what it has


@dataclasses.dataclass(frozen=True)
class Stagecoach:
    precision: str
    batch: int
    options: tuple = ()
    stages: int = 0
    micro_batches: int = 1

    @property
    def name(self):
        return " ".join([self.precision, *self.options])

    def facts(self):
        return [{"program": "stagecoach", "setting": self.name, "batch": self.batch,
                 "precision": self.precision, "stages": self.stages,
                 "micro_batches": self.micro_batches}]

    def words(self, seconds, image_size):
        return ["--data", "synthetic", "--device", "cuda", "--precision", self.precision,
                "--optimizer", "sgd", "--image-size", str(image_size),
                "--stages", str(self.stages), "--micro-batches", str(self.micro_batches),
                "--micro-batch-size", str(self.batch), "--steps", str(training.FOREVER),
                "--max-minutes", f"{seconds / 60:.5f}", *self.options, "--quiet"]


@dataclasses.dataclass(frozen=True)
class Torch:
    """Settings of torch_step.py that share a process."""
    batch: int
    settings: tuple

    def facts(self):
        return [{"program": "torch", "setting": setting, "batch": self.batch}
                for setting in self.settings]


def step_plan(batches):
    for batch in batches:
        yield Torch(batch, STEP_SETTINGS)
        yield Stagecoach("bf16", batch)
        yield Stagecoach("bf16", batch, ("--fixed-batch",))
        yield Stagecoach("bf16", batch, ("--eager",))
    for size in MICRO_BATCH_SIZES:
        yield Stagecoach("bf16", size, micro_batches=MICRO_BATCHES)


def more_plan(batches):
    for stages in (0, 2, 4):
        yield Stagecoach("bf16", 32, stages=stages, micro_batches=MICRO_BATCHES)
    for batch in batches[:2]:
        yield Stagecoach("bf16", batch)
        yield Stagecoach("bf16", batch, ("--tune",))
        yield Torch(batch, ("bf16-compile",))
    for options in ((), ("--overlap",)):
        yield Stagecoach("bf16", batches[0], options, stages=1)
    for precision in ("tf32", "fp32"):
        yield Stagecoach(precision, batches[0])
    yield Torch(batches[0], ("tf32-graph", "tf32", "fp32"))


PLANS = {"step": step_plan, "more": more_plan}


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
        words = ["bench/gpu/torch_step.py", "--settings", settings, "--batch",
                 str(facts[0]["batch"]), "--seconds", str(self.arguments.seconds),
                 "--image-size", str(self.arguments.image_size)]
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
        words = setting.words(self.arguments.seconds, self.arguments.image_size)
        rest = self.end - time.monotonic()
        if rest < MARGIN:
            return None
        print(f"round {number}: stagecoach train {shlex.join(words)}", file=sys.stderr, flush=True)
        try:
            report, lines = training.train(self.arguments.stagecoach.resolve(), words,
                                           self.environment, min(rest, LONGEST_RUN))
            result = self.from_report(report, lines, setting)
        except (RunError, OSError, ValueError, KeyError) as error:
            if time.monotonic() >= self.end:
                return None
            result = {"error": str(error) if isinstance(error, RunError) else repr(error)}
        return {**result, "command": shlex.join(["stagecoach", "train", *words])}

    @staticmethod
    def from_report(report, lines, setting):
        if report.get("precision", setting.precision) != setting.precision:
            raise RunError(f"ran in {report['precision']}")
        launch = "eager" if "--eager" in setting.options else "graph"
        if setting.stages == 0 and report.get("launch", launch) != launch:
            raise RunError(f"the step was launched as {report['launch']}, not as {launch}")
        keys = ("loss_last", "device", "data_waits", "data_wait_seconds", "bubble", "stages", "memory")
        result = {key: report.get(key) for key in keys}
        result["stage_times"] = result.pop("stages")
        return {**result, **training.rate(lines, setting.batch * setting.micro_batches,
                                          DROPPED_SECONDS)}

    def keep(self, run):
        shown = run.get("error") or run.get("not_run") or f"{run['images_per_second']:.0f} images/s"
        print(f"  {run['program']} {run['setting']}: {shown}", file=sys.stderr, flush=True)
        self.record["runs"].append(run)
        write(self.record, self.arguments.output)

    def round(self, number):
        """All that this round does not have yet; what the time did not allow is `not_reached`."""
        had = {tables.configuration(run) for run in self.record["runs"] if run["round"] == number}
        for job in PLANS[self.arguments.plan](self.arguments.batches):
            facts = [{"round": number, **fact} for fact in job.facts()
                     if tables.configuration(fact) not in had]
            if not facts or (isinstance(job, Torch) and not self.arguments.torch_python):
                continue
            before = clocks.sample()
            with clocks.Watch() as watch:
                results = list(self.torch(facts)) if isinstance(job, Torch) else \
                    [self.stagecoach(number, job)]
            seen = {"before": before, "busiest": watch.busiest(), "after": clocks.sample()}
            for fact, result in zip(facts, results):
                if result:
                    self.keep({**fact, **result, "clocks": seen})
                else:
                    self.record["not_reached"].append(fact)


def write(record, stem):
    """A whole file or none."""
    temporary = pathlib.Path(f"{stem}.json.part")
    temporary.write_text(json.dumps(record, indent=1) + "\n")
    temporary.replace(f"{stem}.json")


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stagecoach", type=pathlib.Path, required=True, metavar="PROGRAM")
    parser.add_argument("--plan", choices=PLANS, default="step")
    parser.add_argument("--batches", type=lambda text: [int(n) for n in text.split(",")],
                        default=[128, 1024, 32], metavar="N,...")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--seconds", type=float, default=4.5,
                        help="of a run; the first one does not count")
    parser.add_argument("--rounds", type=int, default=3, help="at most")
    parser.add_argument("--time-limit", type=float, metavar="SECONDS",
                        default=float(os.environ.get("STEP_SECONDS", 570)) - MARGIN,
                        help="default: what $STEP_SECONDS allows")
    parser.add_argument("--torch-python", default=sys.executable, metavar="PROGRAM",
                        help="a Python that has PyTorch; empty: Stagecoach alone")
    parser.add_argument("--output", type=pathlib.Path, required=True, metavar="FILE",
                        help="writes FILE.json")
    parser.add_argument("--continue", action="store_true", dest="go_on",
                        help="runs what FILE.json does not have yet")
    arguments = parser.parse_args()
    if not os.access(arguments.stagecoach, os.X_OK):
        parser.error(f"--stagecoach: {arguments.stagecoach} is not a program")
    return arguments


def earlier_runs(file):
    """Of an earlier call, which may have been stopped anywhere."""
    return json.loads(file.read_text())["runs"] if file.exists() else []


def main():
    arguments = parse_arguments()
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # execute() ends what it started
    record = {
        "command": shlex.join(["python", "bench/gpu/run.py",
                               *(word.replace(f"{ROOT}/", "") for word in sys.argv[1:])]),
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": commit(), "not_reached": [],
        "runs": earlier_runs(pathlib.Path(f"{arguments.output}.json"))
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
