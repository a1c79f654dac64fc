#!/usr/bin/env python3
"""The kernels of one eager step under Nsight Compute: time, bytes of memory, use of the issue slots.

Prints a line of JSON for each kernel's name, the longest first. The clocks are left as they are. Exit
status 77 where there is no ncu. Python's standard library only.
"""

import argparse
import csv
import json
import shutil
import signal
import sys

from training import RunError, execute

# ncu's name -> ours.
METRICS = {
    "gpu__time_duration.sum": "seconds",
    "dram__bytes_read.sum": "read_bytes",
    "dram__bytes_write.sum": "written_bytes",
    "smsp__issue_active.avg.pct_of_peak_sustained_active": "issue_percent",
    "sm__warps_active.avg.pct_of_peak_sustained_active": "occupancy_percent",
}
# To seconds, and to bytes.
UNITS = {"ns": 1e-9, "nsecond": 1e-9, "us": 1e-6, "usecond": 1e-6, "ms": 1e-3, "msecond": 1e-3,
         "s": 1, "second": 1, "byte": 1, "Kbyte": 1e3, "Mbyte": 1e6, "Gbyte": 1e9, "%": 1}


def kernels_of(text):
    """Name -> launches; each launch a dictionary of METRICS. ncu writes a line for each metric."""
    lines = text.splitlines()
    begin = next((i for i, line in enumerate(lines) if line.startswith('"ID"')), None)
    if begin is None:
        raise RunError("ncu printed no table")
    result = {}
    for row in csv.DictReader(lines[begin:]):
        name = METRICS.get(row.get("Metric Name"))
        try:
            value = float(row["Metric Value"].replace(",", "")) * UNITS[row["Metric Unit"]]
        except (KeyError, ValueError, TypeError, AttributeError):
            continue  # the line of units, a cut line, or a counter that this GPU lacks
        if name:
            launch = result.setdefault(row["Kernel Name"], {}).setdefault(row["ID"], {})
            launch[name] = value
    return result


def summary(name, launches):
    def total(key):
        return sum(launch.get(key, 0.0) for launch in launches)

    def weighted(key):
        known = [launch for launch in launches if key in launch and launch.get("seconds")]
        seconds = sum(launch["seconds"] for launch in known)
        return sum(l[key] * l["seconds"] for l in known) / seconds if seconds else None

    moved = total("read_bytes") + total("written_bytes")
    return {"kernel": name, "launches": len(launches), "seconds": total("seconds"),
            "read_bytes": total("read_bytes"), "written_bytes": total("written_bytes"),
            "bytes_per_second": moved / total("seconds") if total("seconds") else None,
            "issue_percent": weighted("issue_percent"),
            "occupancy_percent": weighted("occupancy_percent")}


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stagecoach", required=True, metavar="PROGRAM")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--longest", type=float, default=600, help="seconds")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # execute() ends what it started
    if not shutil.which("ncu"):
        print("ncu is not on PATH: it comes with the CUDA toolkit, or as Nsight Compute")
        return 77
    command = ["ncu", "--clock-control", "none", "--metrics", ",".join(METRICS), "--csv",
               "--print-units", "base", arguments.stagecoach, "train", "--data", "synthetic",
               "--device", "cuda", "--precision", "bf16", "--optimizer", "sgd", "--stages", "0",
               "--micro-batches", "1", "--micro-batch-size", str(arguments.batch), "--image-size",
               str(arguments.image_size), "--steps", "1", "--eager", "--quiet"]
    print("+", *command, file=sys.stderr, flush=True)
    try:
        found = kernels_of(execute(command, None, arguments.longest))
    except RunError as error:
        print(f"{error}\n{error.output[-2000:]}", file=sys.stderr)
        return 1
    rows = [summary(name, list(launches.values())) for name, launches in found.items()]
    for row in sorted(rows, key=lambda row: -row["seconds"]):
        print(json.dumps(row))
    return 0 if rows else 1


if __name__ == "__main__":
    sys.exit(main())
