"""One run of `stagecoach train`, as the scripts of this folder start it."""

import json
import pathlib
import statistics
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "peers"))
from run_peers import RunError, execute  # noqa: E402

FOREVER = 100_000_000


def train(program, words, environment, timeout):
    """The report and the metrics of a run on a GPU. Throws RunError where it fails, or ran elsewhere."""
    with tempfile.TemporaryDirectory() as folder:
        report, metrics = pathlib.Path(folder) / "report.json", pathlib.Path(folder) / "metrics"
        execute([str(program), "train", *words, "--report", str(report), "--metrics", str(metrics)],
                environment, timeout)
        found = json.loads(report.read_text())
        # A run that quietly used something else must not pass for this one.
        if not found["device"].startswith("cuda"):
            raise RunError(f"ran on {found['device']}, not on a GPU")
        return found, [json.loads(line) for line in metrics.read_text().splitlines()]


def steady(lines, images, dropped_seconds):
    """Seconds of the steps that count: those behind the first `dropped_seconds`, and at least the last
    half, of a run that was shorter."""
    seconds = [images / line["images_per_second"] for line in lines]
    begin, passed = 0, 0.0
    while begin < len(seconds) // 2 and passed < dropped_seconds:
        passed += seconds[begin]
        begin += 1
    return seconds[begin:]


def rate(lines, images, dropped_seconds):
    counted = steady(lines, images, dropped_seconds)
    median = statistics.median(counted)
    return {"images_per_second": images / median, "step_seconds_median": median,
            "steps": len(counted), "seconds": sum(counted)}
