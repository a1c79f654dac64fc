"""What the single questions of scripts/gpu_check.sh found, as lines of the record."""

from tables import shown

KERNELS = 25  # of a step, the longest


def lines(record):
    result = []
    for title, make in (("The same bits", same_bits), ("Kernels of one eager step", profile),
                        ("Three epochs", epochs), ("The loss beside PyTorch's", curve),
                        ("Memory", memory), ("NCCL", nccl)):
        found = make(record)
        if found:
            result += [f"## {title}", "", *found, ""]
    return result


def same_bits(record):
    runs = [line for line in record["same_bits"] if "launch" in line]
    if not runs:
        return []
    end = next((line for line in record["same_bits"] if "different" in line), None)
    head = ([f"Batch {end['batch']} in {end['micro_batches']} micro-batches, {end['image_size']} x "
             f"{end['image_size']}, {end['precision']}, {end['steps']} steps. Different weights: "
             f"{end['different']}."] if end else ["Not all of it was reached."])
    return [*head, "", "| stages | launch | loss | SHA-256 of the weights |",
            "| ---: | --- | ---: | --- |",
            *(f"| {run['stages']} | {run['launch']} | {shown(run.get('loss'), '.6f')} | "
              f"{run.get('sha256') or run.get('error')} |" for run in runs)]


def profile(record):
    kernels = record["profile"]
    if not kernels:
        return []
    seconds = sum(kernel["seconds"] for kernel in kernels)
    moved = sum(kernel["read_bytes"] + kernel["written_bytes"] for kernel in kernels)
    rows = [f"| {short(kernel['kernel'])} | {kernel['launches']} | {1e6 * kernel['seconds']:.1f} | "
            f"{kernel['read_bytes'] / 1e6:.1f} | {kernel['written_bytes'] / 1e6:.1f} | "
            f"{shown(in_gigabytes(kernel['bytes_per_second']), '.0f')} | "
            f"{shown(kernel['issue_percent'], '.0f')} | {shown(kernel['occupancy_percent'], '.0f')} |"
            for kernel in kernels[:KERNELS]]
    return [f"As Nsight Compute saw them, one at a time, with cold caches and the clocks as they were: "
            f"{1e3 * seconds:.3f} ms, {moved / 1e9:.2f} GB of the GPU's memory.", "",
            "| kernel | launches | us | MB read | MB written | GB/s | issue slots, % | warps, % |",
            "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |", *rows,
            *([f"| {len(kernels) - KERNELS} more in the JSON | | | | | | | |"]
              if len(kernels) > KERNELS else [])]


def in_gigabytes(rate):
    return None if rate is None else rate / 1e9


def short(name):
    """A kernel's name without its arguments; a | would end the cell."""
    name = name.partition("(")[0] if not name.startswith("(") else name
    return (name if len(name) <= 70 else name[:67] + "...").replace("|", "/")


def epochs(record):
    report = record["epochs"]
    if not report:
        return []
    accuracy = shown(report.get("accuracy"), ".1%")
    return [f"{report['data'].partition(' (')[0]}, {report['steps']} steps of {report['micro_batches']} x "
            f"{report['micro_batch_size']} images in {report['precision']} on "
            f"{report['pipeline_stages']} stages, {report['total_seconds']:.1f} s: loss "
            f"{report['loss_first']:.4f} to {report['loss_last']:.4f}, accuracy of training "
            f"{report['training_accuracy_first']:.1%} to {report['training_accuracy_last']:.1%}, on "
            f"{report['test_samples']} other images {accuracy}."]


def curve(record):
    found = record["curve"]
    if not found:
        return []
    ours, theirs = found["stagecoach"], found["torch"]
    rows = [f"| {n} | {ours[n - 1]:.6f} | {theirs[n - 1]:.6f} | {abs(ours[n - 1] - theirs[n - 1]):.1e} |"
            for n in (1, 2, 5, 10, 20, 30, 40, 50, 60, 100, 200) if n <= len(ours)]
    return [f"    {found['command']}", "",
            "The same weights, images, crops, flips and dropout masks.", "",
            "| step | Stagecoach | PyTorch | difference |", "| ---: | ---: | ---: | ---: |", *rows]


def memory(record):
    rows = []
    for line in record["memory"]:
        if "error" in line:
            rows.append(f"| {line['batch']} | {line['stages']} | {line['error']} | | | |")
        else:
            rows.append(f"| {line['batch']} | {line['stages']} | {line['planned_mib']:.0f} | "
                        f"{line['loader_mib']:.0f} | {line['used_mib']:.0f} | "
                        f"{line['beside_the_plan_mib']:.0f} |")
    return ["MiB; beside the plan: the context, the kernels' code, the libraries' own.", "",
            "| batch | stages | planned | loader | in use, says the driver | beside the plan |",
            "| ---: | ---: | ---: | ---: | ---: | ---: |", *rows] if rows else []


def nccl(record):
    return [f"A send and a receive of {line['bytes']} bytes to itself (version {line['nccl']}): eagerly "
            f"{arrived(line['eager_arrived'])}; captured, launched twice: "
            f"{', '.join(map(arrived, line['captured_arrived']))}; "
            f"{1e6 * line['seconds_per_launch']:.1f} us a launch." for line in record["nccl"]]


def arrived(yes):
    return "arrived" if yes else "**did not arrive**"
