#!/usr/bin/env python3
"""The dated record of a call of scripts/gpu_check.sh, from what its steps have left in a folder so far.

Writes FOLDER/NAME.json and .md: machine, every step with its command and result, tests
that did not pass, and what was measured; and .tgz, the folder itself. Each is a whole file, whatever
ends this program. Python's standard library only.
"""

import argparse
import collections
import datetime
import io
import json
import pathlib
import sys
import tarfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE.parent / "peers"))
import findings  # noqa: E402
import tables  # noqa: E402
import test_groups  # noqa: E402
from run_peers import commit  # noqa: E402

LARGEST_LOG = 1 << 20  # bytes of one file in the .tgz: its end


def steps(state):
    result = []
    for file in sorted(state.glob("*.step"), key=lambda path: path.stat().st_mtime):
        name, status, seconds, limit, command = file.read_text().rstrip("\n").split("\t")
        entry = {"name": name, "seconds": int(seconds), "limit_seconds": int(limit)}
        if status == "not-run":
            entry.update(result="not run", why=command)
        elif status == "0":
            entry.update(result="passed", command=command)
        elif status == "running":
            entry.update(result="not ended", why="it ran when this was written", command=command)
        else:
            # timeout's own statuses
            why = "time limit" if status in ("124", "137") else f"status {status}"
            log = state / f"{name}.log"
            lines = log.read_text(errors="replace").splitlines() if log.exists() else []
            entry.update(result="failed", command=command, why=why, log_tail=lines[-40:])
        result.append(entry)
    return result


def tests(state):
    """Counts and names, from the logs of all groups; None when no group was begun."""
    logs = {group: read_text(state / f"test_{group}.log") for group in test_groups.GROUPS}
    whys = {step["name"]: step.get("why") for step in steps(state)}
    result = {"passed": 0, "failed": [], "skipped": [], "stopped": []}
    reached = set()
    for group, log in logs.items():
        found = test_groups.read_log(log or "")
        result["passed"] += len(found["passed"])
        result["failed"] += found["failed"]
        result["skipped"] += found["skipped"]
        if found["running"]:
            result["stopped"].append({**found["running"], "why": whys.get(f"test_{group}") or "cut"})
        reached.update(found["passed"], (test["name"] for kind in ("failed", "skipped")
                                         for test in found[kind]))
    listed = test_groups.read_list(read_text(state / "test_list.log") or "")
    reached.update(test["name"] for test in result["stopped"])
    result["not_reached"] = [name for name in listed if name not in reached]
    return result if any(log is not None for log in logs.values()) else None


def read_json(file):
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError):
        return None


def read_benchmarks(file):
    """Google Benchmark's JSON; of a program that was stopped or died, what it had finished."""
    text = read_text(file)
    if not text or '"benchmarks": [' not in text:
        return None
    end = text.rfind("}")
    while end >= 0:
        for rest in ("", "]}"):
            try:
                return json.loads(text[:end + 1] + rest)
            except ValueError:
                pass
        end = text.rfind("}", 0, end)
    return None


def read_text(file):
    return file.read_text(errors="replace") if file.exists() else None


def read_lines(file):
    """JSON lines; what is none, or cut, is left out."""
    result = []
    for line in (read_text(file) or "").splitlines():
        try:
            if line.startswith("{"):
                result.append(json.loads(line))
        except ValueError:
            pass
    return result


def make_record(state, call):
    return {
        "title": "GPU check", "call": call, "date": datetime.datetime.now(datetime.timezone.utc).strftime(
            "%Y-%m-%d %H:%M UTC"),
        "commit": commit(),
        "machine": read_json(state / "machine.json"),
        "info": read_text(state / "info.log"),
        "steps": steps(state),
        "tests": tests(state),
        "device_properties": read_json(state / "device_properties.json"),
        "kernels": read_benchmarks(state / "kernels.json"),
        "training": read_json(state / "training.json"),
        **{name: read_lines(state / f"{name}.log")
           for name in ("same_bits", "memory", "profile", "nccl")},
        "epochs": read_json(state / "epochs.json"),
        "curve": read_json(state / "curve.json"),
    }


def gpu_name(record):
    found = (record["machine"] or {}).get("gpus") or [{"name": "unknown"}]
    return found[0]["name"]


def version_line(facts):
    def dotted(entry, large, small):
        if not entry:
            return "not found"
        number = entry["version"]
        return f"{number // large}.{number // small % (large // small)}" + (
            f".{number % small}" if small > 10 else "")

    return (f"- driver {(facts.get('nvidia_smi') or {}).get('driver_version', 'unknown')} for CUDA "
            f"{facts['driver_cuda'] // 1000}.{facts['driver_cuda'] % 1000 // 10}, "
            f"runtime {dotted(facts['cudart'], 1000, 10)}, {facts['nvcc']}, "
            f"cuBLASLt {dotted(facts['cublaslt'], 10000, 100)}, "
            f"cuDNN {dotted(facts['cudnn'], 10000, 100)}, "
            f"NCCL {dotted(facts['nccl'], 10000, 100)}, PyTorch {facts['torch'] or 'not found'}")


def machine_lines(record):
    facts = record["machine"]
    if not facts:
        return ["- the machine could not be described: see the step `machine`"]
    lines = [f"- {gpu['name']}, {gpu['multiprocessors']} multiprocessors, capability "
             f"{gpu['capability']}, {gpu['memory_bytes'] / 2**30:.1f} GiB" for gpu in facts["gpus"]]
    lines.append(version_line(facts))
    if facts["nvidia_smi"]:
        lines.append("- " + ", ".join(f"{key} {value}" for key, value in
                                      facts["nvidia_smi"].items() if key != "driver_version"))
    return [*lines, f"- {facts['cpu']}, {facts['cores']} cores, Linux {facts['kernel']}"]


def step_lines(record):
    lines = ["## Steps", "", "| step | result | seconds | |", "| --- | --- | ---: | --- |"]
    for step in record["steps"]:
        result = f"**{step['result']}**" if step["result"] == "failed" else step["result"]
        what = ": ".join(part for part in (step.get("why"), f"`{step['command']}`"
                                           if "command" in step else None) if part)
        lines.append(f"| {step['name']} | {result} | {step['seconds']} | {what} |")
    for step in record["steps"]:
        if step.get("log_tail"):
            lines += ["", f"End of the log of `{step['name']}`:", "", "```text",
                      *step["log_tail"], "```"]
    return lines


def indented(lines):
    return ["", "  ```text", *(f"  {line}" for line in lines), "  ```", ""] if lines else []


def suites(names):
    """"Sizes/LinearShim (84), ..." of the names of tests."""
    counts = collections.Counter(name.partition(".")[0] for name in names)
    return ", ".join(f"{suite} ({count})" for suite, count in counts.items())


def test_lines(record):
    found = record["tests"]
    if found is None:
        return []
    lines = ["## Tests", "", f"{found['passed']} passed, {len(found['failed'])} failed, "
             f"{len(found['skipped'])} skipped, {len(found['stopped'])} stopped, "
             f"{len(found['not_reached'])} not reached.", ""]
    for test in found["failed"]:
        lines += [f"- failed: {test['name']}", *indented(test["output"])]
    for test in found["stopped"]:
        lines += [f"- stopped ({test['why']}) in: {test['name']}", *indented(test["output"])]
    lines += [f"- skipped: {test['name']}: {test['why']}" for test in found["skipped"]]
    if found["not_reached"]:
        lines.append(f"- not reached: {suites(found['not_reached'])}")
    return lines


def markdown(record):
    lines = [f"# GPU check, {record['call']}: {gpu_name(record)}", "",
             f"- {record['date']}, commit {record['commit']}", *machine_lines(record), "",
             *(["What the program says of it:", "", "```text", record["info"].rstrip(), "```", ""]
               if record["info"] else []),
             *step_lines(record), "", *test_lines(record), ""]
    text = "\n".join([*lines, *findings.lines(record)]) + "\n"
    if record["training"]:
        text += tables.training(record["training"]) + "\n"
    return text + (tables.kernels(record["kernels"]) if record["kernels"] else "")


def archive(state):
    """The folder's files as .tar.gz; of large ones the end."""
    result = io.BytesIO()
    with tarfile.open(fileobj=result, mode="w:gz") as tar:
        for file in sorted(path for path in state.iterdir() if path.is_file()):
            data = file.read_bytes()[-LARGEST_LOG:]
            entry = tarfile.TarInfo(f"gpu_check/{file.name}")
            entry.size, entry.mtime = len(data), int(file.stat().st_mtime)
            tar.addfile(entry, io.BytesIO(data))
    return result.getvalue()


def write(file, data):
    temporary = file.with_name(file.name + ".part")
    temporary.write_bytes(data)
    temporary.replace(file)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("state", type=pathlib.Path, help="folder of the steps' results")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "bench" / "results")
    parser.add_argument("--call", required=True, help="of scripts/gpu_check.sh")
    parser.add_argument("--name", required=True, help="of the files, without their endings")
    arguments = parser.parse_args()
    record = make_record(arguments.state, arguments.call)
    name = arguments.name
    arguments.out.mkdir(parents=True, exist_ok=True)
    # The JSON first: the other two can be made of it, and of nothing else.
    write(arguments.out / f"{name}.json", (json.dumps(record, indent=1) + "\n").encode())
    write(arguments.out / f"{name}.md", markdown(record).encode())
    write(arguments.out / f"{name}.tgz", archive(arguments.state))
    print(f"record: {arguments.out / name}.md, .json and .tgz")
    return 0


if __name__ == "__main__":
    sys.exit(main())
