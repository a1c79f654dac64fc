"""Runs the peers and Stagecoach in turn on this machine and compares them.

Each round runs every configuration once, in the same order, so that what else happens on the
machine hits all alike. A figure is the median over the rounds; a ratio is the median of the ratios
to the baseline of the same round. Run it with the Python of the environment that setup.sh made.
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version

from suites import AVX2_PEERS, AVX2_STAGECOACH, SUITES, configurations_of

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent

# Would change what the peers choose by themselves.
CLEARED = ("GLIBC_TUNABLES", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS",
           "LD_PRELOAD", "DNNL_MAX_CPU_ISA", *AVX2_STAGECOACH, *AVX2_PEERS)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", choices=SUITES, default="step")
    parser.add_argument("--stagecoach", type=pathlib.Path, metavar="PATH", help="its binary")
    parser.add_argument("--only", metavar="NAME,...", help="configurations to run (see --list)")
    parser.add_argument("--list", action="store_true", help="list the suite's configurations")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=10, help="measured steps of each run")
    parser.add_argument("--warmup", type=int, default=2,
                        help="steps before them that do not count")
    parser.add_argument("--simd", choices=["avx2"],
                        help="hold all to AVX2 on a processor that has more")
    parser.add_argument("--timeout", type=float, default=900, help="seconds for one run")
    parser.add_argument("--output", type=pathlib.Path, metavar="FILE",
                        help="writes FILE.json and FILE.md")
    arguments = parser.parse_args()
    if min(arguments.rounds, arguments.steps) < 1 or arguments.warmup < 0:
        parser.error("--rounds and --steps must be at least 1, --warmup at least 0")
    if arguments.stagecoach and not os.access(arguments.stagecoach, os.X_OK):
        parser.error(f"--stagecoach: {arguments.stagecoach} is not a program")
    return arguments


def choose(arguments):
    """The suite's configurations that can run, and why the others cannot."""
    configurations = configurations_of(arguments.suite, arguments.simd)
    if arguments.only:
        wanted = arguments.only.split(",")
        unknown = set(wanted) - {c.name for c in configurations}
        if unknown:
            sys.exit(f"run_peers: no configuration {', '.join(sorted(unknown))} in this suite; "
                     f"there are {', '.join(c.name for c in configurations)}")
        configurations = [c for c in configurations if c.name in wanted]
    skipped = {}
    if not arguments.stagecoach:
        skipped = {c.name: "no --stagecoach PATH given" for c in configurations if c.is_stagecoach}
    elif not shutil.which("mpirun"):
        skipped = {c.name: "no mpirun on this machine" for c in configurations if c.processes > 1}
    return [c for c in configurations if c.name not in skipped], skipped


class RunError(Exception):
    """`output`: what the run had printed."""

    def __init__(self, message, output=""):
        super().__init__(message)
        self.output = output


def run(configuration, arguments):
    """One run; its result as the peers' JSON line has it."""
    environment = {k: v for k, v in os.environ.items() if k not in CLEARED}
    environment.update(configuration.environment)
    if configuration.is_stagecoach:
        with tempfile.TemporaryDirectory() as folder:
            report, metrics = pathlib.Path(folder) / "report.json", pathlib.Path(folder) / "metrics"
            execute([*configuration.launcher(), str(arguments.stagecoach.resolve()), "train",
                     *configuration.words(arguments), "--report", str(report), "--metrics",
                     str(metrics)], environment, arguments.timeout)
            steps = [json.loads(line) for line in metrics.read_text().splitlines()]
            return from_report(json.loads(report.read_text()), steps[arguments.warmup:])
    script, *options = configuration.words(arguments)
    output = execute([sys.executable, str(HERE / script), *options], environment, arguments.timeout)
    for line in reversed(output.splitlines()):
        if line.startswith("{"):
            return json.loads(line)
    raise RunError("printed no JSON line")


def execute(command, environment, timeout):
    process = subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, start_new_session=True)
    try:
        output, errors = process.communicate(timeout=timeout)
    except (subprocess.TimeoutExpired, KeyboardInterrupt) as error:
        os.killpg(process.pid, 9)  # with the ranks that it started
        output, _ = process.communicate()
        if isinstance(error, KeyboardInterrupt):
            raise
        raise RunError(f"not finished after {timeout:.0f} s", output) from None
    if process.returncode != 0:
        lines = [line for line in (errors or output).splitlines() if any(map(str.isalnum, line))]
        raise RunError(f"exit status {process.returncode}: {(lines or ['no message'])[-1]}", output)
    return output


def from_report(report, steps):
    """`steps`: the lines of --metrics that count."""
    bubble = report.get("bubble") or {}
    rate = statistics.median(step["images_per_second"] for step in steps)
    batch = report["images_per_second"] * report["step_seconds_median"]
    return {
        "makespan_over_predicted": bubble["measured_makespan_seconds"] /
        bubble["predicted_makespan_seconds"] if bubble else None,
        "bubble": bubble,
        "planned_mib": sum(m["planned_bytes"] for m in report.get("memory", [])) >> 20,
        "data_waits": report["data_waits"],
        "images_per_second": rate,
        "step_seconds_median": batch / rate,
        "steps": len(steps),
        "partition": report.get("partition"),
        "threads": report.get("threads"),
        "loss": report.get("loss_last"),
        "peak_rss_mib": [report["process_peak_bytes"] >> 20]
        if "process_peak_bytes" in report else [],
    }


def run_rounds(configurations, arguments):
    """Per configuration, the list of its rounds' results; a failed one is {"error": text}."""
    results = {c.name: [] for c in configurations}
    for number in range(1, arguments.rounds + 1):
        for configuration in configurations:
            load = os.getloadavg()[0]
            try:
                result = run(configuration, arguments)
                shown = f"{result['images_per_second']:.1f} images/s"
            except (RunError, OSError, ValueError, KeyError) as error:
                result = {"error": str(error) if isinstance(error, RunError) else repr(error)}
                shown = result["error"]
            results[configuration.name].append({**result, "load_before": round(load, 2)})
            print(f"round {number}/{arguments.rounds} {configuration.name}: {shown}",
                  file=sys.stderr, flush=True)
    return results


def summarise(configurations, results, arguments):
    baseline = None
    summary = []
    for configuration in configurations:
        baseline = configuration.name if configuration.baseline else baseline
        rounds = results[configuration.name]
        row = {"name": configuration.name, "title": configuration.title,
               "command": configuration.shown_command(arguments), "rounds": rounds,
               "errors": [r["error"] for r in rounds if "error" in r]}
        good = [r for r in rounds if "error" not in r]
        if good:
            rates = [r["images_per_second"] for r in good]
            row.update(images_per_second=statistics.median(rates),
                       step_seconds=statistics.median(r["step_seconds_median"] for r in good),
                       peak_rss_mib=good[-1]["peak_rss_mib"])
        ratios = [r["images_per_second"] / b["images_per_second"]
                  for r, b in zip(rounds, results.get(baseline, []))
                  if "error" not in r and "error" not in b]
        if ratios:
            row["ratio"] = statistics.median(ratios)
        predicted = [r["makespan_over_predicted"] for r in good if r.get("makespan_over_predicted")]
        if predicted:
            row["makespan_over_predicted"] = statistics.median(predicted)
        summary.append(row)
    return summary


def git(*command):
    done = subprocess.run(["git", "-c", f"safe.directory={ROOT}", "-C", str(ROOT), *command],
                          capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else "unknown"


def commit():
    """From git; where there is no .git, from who copied the sources here: STAGECOACH_COMMIT, or the
    file build/commit."""
    if os.environ.get("STAGECOACH_COMMIT"):
        return os.environ["STAGECOACH_COMMIT"]
    file = ROOT / "build" / "commit"
    name = git("rev-parse", "--short=12", "HEAD")
    if name == "unknown" and file.exists():
        return file.read_text().strip()
    return name + (" with uncommitted changes" if git("status", "--porcelain") not in
                   ("", "unknown") else "")


def own_command():
    """The command line, with paths inside the repository relative to it."""
    words = [word.replace(f"{ROOT}/", "") for word in sys.argv[1:]]
    return shlex.join(["python", "bench/peers/run_peers.py", *words])


def processor():
    facts = {}
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        facts.setdefault(key.strip(), value.strip())
    flags = facts.get("flags", "").split()
    vector = [f for f in ("avx2", "avx512f", "avx512_bf16", "amx_tile") if f in flags]
    return facts.get("model name", platform.machine()), vector


def describe(arguments, configurations):
    versions = {"python": platform.python_version(), "libc": " ".join(platform.libc_ver())}
    for package in ("torch", "torchvision", "deepspeed"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    if any(c.processes > 1 for c in configurations):
        lines = execute(["mpirun", "--version"], os.environ, arguments.timeout).splitlines()
        versions["mpirun"] = lines[0].removeprefix("mpirun ")
    cpu, vector = processor()
    return {
        "suite": arguments.suite,
        "command": own_command(),
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": git("rev-parse", "--short=12", "HEAD"),
        "uncommitted_changes": bool(git("status", "--porcelain", "--untracked-files=no")),
        "cpu": cpu, "vector_instructions": vector, "held_to": arguments.simd, "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(), "rounds": arguments.rounds, "steps": arguments.steps,
        "warmup": arguments.warmup, "versions": versions,
    }


def percent(row, which):
    """The median of a bubble over the rounds."""
    values = sorted(r["bubble"][which] for r in row["rounds"] if r.get("bubble"))
    return f"{100 * values[len(values) // 2]:.1f} %"


def splits(row):
    """What the rounds split the layers by, and where they cut."""
    return ", ".join(dict.fromkeys(r["partition"] for r in row["rounds"] if r.get("partition")))


def table(summary, skipped):
    lines = ["| configuration | images/s | each round | ratio | s per step | peak MiB |",
             "| --- | ---: | ---: | ---: | ---: | ---: |"]
    for row in summary:
        title = row["title"]
        if row["errors"]:
            title += f" ({len(row['errors'])} of {len(row['rounds'])} runs failed)"
        if "images_per_second" not in row:
            lines.append(f"| {title} | - | - | - | - | - |")
            continue
        ratio = f"{row['ratio']:.2f}" if "ratio" in row else "-"
        peak = " + ".join(str(mib) for mib in row["peak_rss_mib"]) or "-"
        rounds = ", ".join(f"{r['images_per_second']:.1f}" if "error" not in r else "failed"
                           for r in row["rounds"])
        lines.append(f"| {title} | {row['images_per_second']:.1f} | {rounds} | {ratio} | "
                     f"{row['step_seconds']:.3f} | {peak} |")
    lines += [f"\n{row['title']}: {splits(row)}; a step (without the optimizer) took "
              f"{row['makespan_over_predicted']:.3f} times what its own prediction says; steps that "
              f"waited for data: {sum(r['data_waits'] for r in row['rounds'] if 'error' not in r)}; "
              f"bubble {percent(row, 'measured')}, predicted {percent(row, 'predicted')}; "
              f"planned memory {row['rounds'][-1].get('planned_mib', 0)} MiB."
              for row in summary if "makespan_over_predicted" in row]
    lines += [f"\nNot run: {name}: {why}." for name, why in skipped.items()]
    lines += [f"\nFailed: {row['name']}: {error}"
              for row in summary for error in dict.fromkeys(row["errors"])]
    return "\n".join(lines)


def markdown(record, summary, skipped):
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    changed = " with uncommitted changes" if record["uncommitted_changes"] else ""
    held = f" (all held to {record['held_to']} by variables, below)" if record["held_to"] else ""
    load = max(r["load_before"] for row in summary for r in row["rounds"])
    head = [
        f"# Peers, suite `{record['suite']}`", "",
        f"    {record['command']}", "",
        f"- {record['date']}, commit {record['commit']}{changed}",
        f"- {record['cpu']}, {record['cores']} cores, {' '.join(record['vector_instructions'])}{held}, "
        f"Linux {record['kernel']}; highest load average before a run {load}",
        f"- {versions}",
        f"- rounds: {record['rounds']}, alternating, {record['steps']} steps each after "
        f"{record['warmup']} that do not count; medians; ratio: images/s over those of the same "
        "round of the nearest row above with 1.00, median over the rounds; peak: resident memory of "
        "each process, under mpirun of the first one",
        "- malloc: glibc keeps freed memory (`GLIBC_TUNABLES`, below)", "",
    ]
    commands = ["", "Commands:", "", "```text", *(row["command"] for row in summary), "```", ""]
    return "\n".join([*head, table(summary, skipped), *commands])


def main():
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # execute() ends what it started
    arguments = parse_arguments()
    configurations, skipped = choose(arguments)
    if arguments.list:
        for configuration in configurations_of(arguments.suite, arguments.simd):
            print(f"{configuration.name}: {configuration.shown_command(arguments)}")
        return 0
    for name, why in skipped.items():
        print(f"skipped {name}: {why}", file=sys.stderr)
    if not configurations:
        sys.exit("run_peers: nothing to run")
    record = describe(arguments, configurations)
    summary = summarise(configurations, run_rounds(configurations, arguments), arguments)
    print(table(summary, skipped))
    if arguments.output:
        stem = arguments.output.with_suffix("") if arguments.output.suffix in (
            ".json", ".md") else arguments.output
        stem.parent.mkdir(parents=True, exist_ok=True)
        pathlib.Path(f"{stem}.json").write_text(
            json.dumps({**record, "results": summary, "skipped": skipped}, indent=1) + "\n")
        pathlib.Path(f"{stem}.md").write_text(markdown(record, summary, skipped))
    return 1 if any(row["errors"] for row in summary) else 0


if __name__ == "__main__":
    sys.exit(main())
