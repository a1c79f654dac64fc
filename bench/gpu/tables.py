"""Markdown tables of what run.py and Google Benchmark measured on a GPU."""

import statistics

import roofline

TORCH_TITLES = {
    "default": "PyTorch as used",
    "fp32": "PyTorch, fp32 throughout",
    "tf32": "PyTorch, TF32",
    "tf32-graph": "PyTorch, TF32, tuned, CUDA graph",
    "bf16": "PyTorch, bf16, tuned",
    "bf16-compile": "PyTorch, bf16, tuned, torch.compile",
    "bf16-graph": "PyTorch, bf16, tuned, CUDA graph",
    "bf16-graph-images": "PyTorch, bf16, tuned, CUDA graph, with resizing",
}


def precision_of(run):
    """None for PyTorch's default, which mixes TF32 and fp32."""
    if run["program"] == "stagecoach":
        return run["precision"]
    name = run["setting"].partition("-")[0]
    return name if name in roofline.FLOPS_PER_SECOND else None


def title_of(run):
    if run["program"] == "torch":
        return TORCH_TITLES.get(run["setting"], f"PyTorch, {run['setting']}")
    return f"Stagecoach, {run['setting']}"


def measured(runs):
    return [run for run in runs if "images_per_second" in run]


def configuration(run):
    return (run["program"], run["setting"], run["batch"], run.get("stages", 0),
            run.get("micro_batches", 1))


def grouped(runs):
    """Runs of one configuration together, in the order of their first round."""
    groups = {}
    for run in runs:
        groups.setdefault(configuration(run), []).append(run)
    return list(groups.values())


def is_pipeline(run):
    return run.get("stages", 0) > 0 or run.get("micro_batches", 1) > 1


def ratio(group, others):
    """Median over the rounds of the rate over the best rate of `others` in the same round."""
    ratios = []
    for run in measured(group):
        rates = [other["images_per_second"] for other in measured(others)
                 if other["round"] == run["round"] and other["batch"] == run["batch"]]
        if rates:
            ratios.append(run["images_per_second"] / max(rates))
    return statistics.median(ratios) if ratios else None


def shown(value, form):
    return "-" if value is None else format(value, form)


def row_of(group, torch):
    first = group[0]
    good = measured(group)
    if not good:
        return f"| {first['batch']} | {title_of(first)} | - | - | - | - | - | - |"
    rates = [run["images_per_second"] for run in good]
    seconds = statistics.median(run["step_seconds_median"] for run in good)
    precision = precision_of(first)
    ideal = roofline.ideal_seconds(first["batch"], precision) if precision else None
    as_used = [run for run in torch if run["setting"] == "default"]
    same = [run for run in torch if precision and precision_of(run) == precision]
    title = title_of(first)
    if len(good) < len(group):
        title += f" ({len(group) - len(good)} of {len(group)} runs failed)"
    return (f"| {first['batch']} | {title} | {statistics.median(rates):.0f} | "
            f"{min(rates):.0f} - {max(rates):.0f} | {1e3 * seconds:.3f} | "
            f"{shown(ideal and ideal / seconds, '.0%')} | {shown(ratio(group, as_used), '.2f')} | "
            f"{shown(ratio(group, same), '.2f')} |")


def step_table(runs):
    runs = [run for run in runs if not is_pipeline(run)]
    torch = [run for run in runs if run["program"] == "torch"]
    groups = sorted(grouped(runs), key=lambda group: group[0]["batch"])
    return ["| batch | configuration | images/s | slowest - fastest | ms per step | roofline | "
            "to PyTorch as used | to its best in this precision |",
            "| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
            *(row_of(group, torch) for group in groups)]


def pipeline_table(runs):
    lines = ["| stages | micro-batches | images/s | ms per step | bubble measured | predicted | "
             "formula |", "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |"]
    for group in grouped([run for run in runs if is_pipeline(run)]):
        first, good = group[0], measured(group)
        options = first["setting"].partition(" ")[2]
        head = (f"| {first['stages'] or 'plain loop'}{options and f', {options}'} | "
                f"{first['micro_batches']} x {first['batch']} |")
        if not good:
            lines.append(f"{head} - | - | - | - | - |")
            continue

        def middle(key):
            values = [run["bubble"][key] for run in good if run.get("bubble")]
            return statistics.median(values) if values else None

        rate = statistics.median(run["images_per_second"] for run in good)
        seconds = statistics.median(run["step_seconds_median"] for run in good)
        bubbles = " | ".join(shown(middle(key), ".1%")
                             for key in ("measured", "predicted", "formula"))
        lines.append(f"{head} {rate:.0f} | {1e3 * seconds:.3f} | {bubbles} |")
    return lines


def described(run):
    batch = f"{run['micro_batches']} x {run['batch']}" if is_pipeline(run) else run["batch"]
    return f"{title_of(run)}, batch {batch}, {run.get('stages', 0)} stages"


def failures(record):
    """Every distinct failure once; then what the time limit left out."""
    lines = []
    for run in record["runs"]:
        why = run.get("error") or run.get("not_run")
        if why:
            word = "Not run" if run.get("not_run") else "Failed"
            lines.append(f"- {word}: {described(run)}, round {run['round']}: {why}")
    left = record["not_reached"]
    if left:
        lines.append(f"- Not run in round {left[0]['round']}, as the time limit came first: "
                     f"{'; '.join(map(described, left))}")
    return list(dict.fromkeys(lines))


def compared(runs, first, second, stages=0):
    """"batch 32: 1.52 ..." where setting `first` over `second` of Stagecoach was measured."""
    alike = [run for run in runs if run["program"] == "stagecoach"
             and (run.get("stages", 0), run.get("micro_batches", 1)) == (stages, 1)]
    parts = []
    for batch in sorted({run["batch"] for run in alike}):
        at = [run for run in alike if run["batch"] == batch]
        value = ratio([run for run in at if run["setting"] == first],
                      [run for run in at if run["setting"] == second])
        if value is not None:
            parts.append(f"batch {batch}: {value:.2f}")
    return ", ".join(parts)


def answered(answers):
    return [f"- {'Run' if finding else 'Not run'}: {question}: {finding or why}"
            for question, finding, why in answers]


def experiments(runs):
    """The questions that training steps answer: what was run, and why the others were not."""
    torch = measured([run for run in runs if run["program"] == "torch"])
    pairs = [("a captured step against an eager one", "bf16", "bf16 --eager"),
             ("a step without the loader's work against one with it", "bf16 --fixed-batch", "bf16"),
             ("algorithms timed by --tune against the library's first", "bf16 --tune", "bf16")]
    no_pair = "no pair of runs succeeded"
    return answered([
        *((f"{question} (images/s, bf16)", compared(runs, first, second), no_pair)
          for question, first, second in pairs),
        ("the optimizer beside W against behind it (images/s, bf16, one stage)",
         compared(runs, "bf16 --overlap", "bf16", stages=1), no_pair),
        ("PyTorch on the same machine", "in the table above" if torch else "",
         "no setting of PyTorch ran"),
    ])


def clock_text(found):
    if not found:
        return "-"
    held = ", ".join(found.get("held_by", []))
    return (f"{shown(found.get('sm_mhz'), '.0f')} MHz, {shown(found.get('watts'), '.0f')} W"
            f"{', ' + held if held else ''}")


def clock_table(runs):
    """What nvidia-smi said around each run; PyTorch's settings of a batch share a process."""
    lines = ["| run | before | busiest | after |", "| --- | --- | --- | --- |"]
    for run in runs:
        seen = run.get("clocks") or {}
        if any(seen.values()):
            lines.append(f"| {described(run)}, round {run['round']} | " + " | ".join(
                clock_text(seen.get(when)) for when in ("before", "busiest", "after")) + " |")
    return lines if len(lines) > 2 else ["nvidia-smi did not answer."]


def training(record):
    runs = record["runs"]
    rounds = max((run["round"] for run in runs), default=0)
    cut = ", the last one not complete" if record["not_reached"] else ""
    return "\n".join([
        "## Training", "", f"    {record['command']}", "",
        f"{record['date']}, commit {record['commit']}, rounds: {rounds}{cut}. AlexNet, 10 classes, "
        "224 x 224 unless the command says otherwise, SGD with momentum. The first second of a run does "
        "not count. PyTorch's images lie on the GPU, resized before or (with resizing) in every step; "
        "Stagecoach's loader resizes them beside the step, but for --fixed-batch. Tuned: channels_last, "
        "cudnn.benchmark, fused SGD. Roofline: the least time of bench/gpu/roofline.py over the "
        "measured time. Ratios are of images/s.", "",
        *step_table(runs), "", "### Micro-batches and pipelines on one GPU, bf16", "",
        *pipeline_table(runs), "", *failures(record), "", "### Questions", "", *experiments(runs), "",
        "### Clocks", "", *clock_table(runs), ""])


# What Google Benchmark writes beside the user's counters.
OWN_KEYS = {"name", "family_index", "per_family_instance_index", "run_name", "run_type",
            "repetitions", "repetition_index", "threads", "iterations", "real_time", "cpu_time",
            "time_unit", "aggregate_name", "aggregate_unit", "label", "error_occurred",
            "error_message", "skipped", "skip_message"}
TO_MICROSECONDS = {"ns": 1e-3, "us": 1.0, "ms": 1e3, "s": 1e6}


def counter(name, value):
    return f"{value:.4g} {name}"


def share_of_limit(entry):
    """Of the memory's rate or the precision's, whichever is nearer; None where it is not known."""
    shares = []
    if "GB/s" in entry:
        shares.append(1e9 * entry["GB/s"] / roofline.BYTES_PER_SECOND)
    precision = next((word for word in entry["name"].split("/")
                      if word in roofline.FLOPS_PER_SECOND), None)
    if "TFLOP/s" in entry and precision:
        shares.append(1e12 * entry["TFLOP/s"] / roofline.FLOPS_PER_SECOND[precision])
    return max(shares, default=None)


def error_of(entry):
    """Why a benchmark was not measured; None where it was."""
    if entry.get("error_occurred") or entry.get("skipped"):
        why = entry.get("error_message") or entry.get("skip_message") or "no message"
        return " ".join(why.split())
    return None


def microseconds(entry):
    return entry["real_time"] * TO_MICROSECONDS[entry["time_unit"]]


def kernels(result):
    """`result`: Google Benchmark's JSON."""
    lines = ["## Kernels", "",
             "Limit: the roofline's rate of the memory or of the precision, whichever is nearer; more "
             "than 100 % of the memory's is the cache's doing.", "",
             "| kernel | us | | of the limit |", "| --- | ---: | --- | ---: |"]
    for entry in result["benchmarks"]:
        why = error_of(entry)
        if why:
            lines.append(f"| {entry['name']} | - | {why} | - |")
            continue
        counters = ", ".join(counter(key, value) for key, value in entry.items()
                             if key not in OWN_KEYS and isinstance(value, (int, float)))
        share = shown(share_of_limit(entry), ".0%")
        lines.append(f"| {entry['name']} | {microseconds(entry):.1f} | {counters} | {share} |")
    return "\n".join([*lines, ""])
