"""Each kernel of the CPU beside PyTorch's (oneDNN, and MKL for products) and OpenBLAS's product (NumPy).

For each shape, F, B and W run in turn, ours and the peer's, on one core; a figure is the median over
the rounds. Work is counted as that of a direct convolution, so Winograd's may exceed what a core
does at most. OpenBLAS multiplies matrices of the convolution's size that lie ready: what im2col
would leave to it. Run it with the Python of the environment that setup.sh made.
"""

import argparse
import datetime
import json
import os
import pathlib
import shlex
import statistics
import subprocess
import sys
import time

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy  # noqa: E402  (reads the variables above)
import torch  # noqa: E402

import run_peers  # noqa: E402
from suites import AVX2_PEERS, AVX2_STAGECOACH  # noqa: E402

# name, channels, image, outputs, kernel, stride, padding; as in bench/bench_kernels.cpp
ALEXNET = [("conv1", 3, 224, 64, 11, 4, 2), ("conv2", 64, 27, 192, 5, 1, 2),
           ("conv3", 192, 13, 384, 3, 1, 1), ("conv4", 384, 13, 256, 3, 1, 1),
           ("conv5", 256, 13, 256, 3, 1, 1)]
VGG = [(name, channels, image, outputs, 3, 1, 1) for name, channels, image, outputs in [
    ("vgg1_1", 3, 224, 64), ("vgg1_2", 64, 224, 64), ("vgg2_1", 64, 112, 128),
    ("vgg2_2", 128, 112, 128), ("vgg3_1", 128, 56, 256), ("vgg3_2", 256, 56, 256),
    ("vgg4_1", 256, 28, 512), ("vgg4_2", 512, 28, 512), ("vgg5", 512, 14, 512)]]
LINEAR = [("fc6", 9216, 4096), ("fc7", 4096, 4096)]


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", default="build/release/bench_kernels", help="our program")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.1, help="of each measurement, at least")
    parser.add_argument("--only", default="", help="shapes whose name begins so")
    parser.add_argument("--simd", choices=["avx2"],
                        help="hold all to AVX2 on a processor that has more")
    parser.add_argument("--output", type=pathlib.Path, help="writes NAME.md and NAME.json")
    return parser.parse_args()


def seconds_of(operation, least):
    operation()
    times = []
    while sum(times) < least or len(times) < 2:
        start = time.perf_counter()
        operation()
        times.append(time.perf_counter() - start)
    return statistics.mean(times)


def convolution(batch, channels, image, outputs, kernel, stride, padding):
    """Operations of PyTorch and of OpenBLAS, by direction; multiply-adds."""
    last = torch.channels_last
    x = torch.randn(batch, channels, image, image).to(memory_format=last)
    w = torch.randn(outputs, channels, kernel, kernel).to(memory_format=last)
    b = torch.randn(outputs)
    y = torch.nn.functional.conv2d(x, w, b, stride, padding)
    grad = torch.randn_like(y).to(memory_format=last)

    def backward(*wanted):
        return lambda: torch.ops.aten.convolution_backward(
            grad, x, w, [outputs], [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], 1, wanted)

    rows, inner = y.numel() // outputs, channels * kernel * kernel
    torch_ways = {"F": lambda: torch.nn.functional.conv2d(x, w, b, stride, padding),
              "B": backward(True, False, False), "W": backward(False, True, True)}
    return torch_ways, products(rows, inner, outputs), rows * inner * outputs


def linear(batch, inputs, outputs):
    x, w, b = torch.randn(batch, inputs), torch.randn(outputs, inputs), torch.randn(outputs)
    grad = torch.randn(batch, outputs)
    torch_ways = {"F": lambda: torch.nn.functional.linear(x, w, b), "B": lambda: grad @ w,
              "W": lambda: (grad.t() @ x, grad.sum(0))}
    return torch_ways, products(batch, inputs, outputs), batch * inputs * outputs


def products(rows, inner, outputs):
    x = numpy.random.rand(rows, inner).astype(numpy.float32)
    w = numpy.random.rand(outputs, inner).astype(numpy.float32)
    grad = numpy.random.rand(rows, outputs).astype(numpy.float32)
    return {"F": lambda: x @ w.T, "B": lambda: grad @ w, "W": lambda: grad.T @ x}


def ours(arguments, name, batch):
    """Seconds by direction, and what a core does at most."""
    command = [arguments.bench, f"--benchmark_filter=^{name}/./batch:{batch}/threads:1",
               f"--benchmark_min_time={arguments.seconds}", "--benchmark_format=json"]
    result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    runs = {run["name"].split("/")[1]: run for run in result["benchmarks"]}
    return ({way: run["real_time"] / 1e3 for way, run in runs.items()},
            {way: run.get("label", "") for way, run in runs.items()},
            float(result["context"]["peak GFLOP/s of one core"]))


def measure(arguments, name, batch, make):
    torch_ways, openblas, multiply_adds = make
    times = {way: {"ours": [], "torch": [], "openblas": []} for way in "FBW"}
    peaks, labels = [], {}
    for _ in range(arguments.rounds):
        own, labels, peak = ours(arguments, name, batch)
        peaks.append(peak)
        for way in "FBW":
            times[way]["ours"].append(own[way])
            times[way]["torch"].append(seconds_of(torch_ways[way], arguments.seconds))
            times[way]["openblas"].append(seconds_of(openblas[way], arguments.seconds))
    peak = statistics.median(peaks)
    rows = []
    for way, by in times.items():
        rate = {who: 2e-9 * multiply_adds / statistics.median(t) for who, t in by.items()}
        rows.append({"shape": name, "batch": batch, "way": way, "label": labels[way],
                     "gflops": rate, "share": rate["ours"] / peak, "peak_gflops": peak,
                     "seconds": by,
                     "to_torch": statistics.median(
                         a / b for a, b in zip(by["torch"], by["ours"])),
                     "to_openblas": statistics.median(
                         a / b for a, b in zip(by["openblas"], by["ours"]))})
    return rows


def table(rows):
    lines = ["| shape | batch | | ours | share of peak | PyTorch | OpenBLAS | ours / PyTorch | ours / OpenBLAS |",
             "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"]
    for row in rows:
        rate = row["gflops"]
        lines.append(
            f"| {row['shape']} | {row['batch']} | {row['way']} | {rate['ours']:.0f} | {row['share']:.0%} | "
            f"{rate['torch']:.0f} | {rate['openblas']:.0f} | {row['to_torch']:.2f} | "
            f"{row['to_openblas']:.2f} |")
    return "\n".join(lines)


def main():
    arguments = parse_arguments()
    held = {**AVX2_STAGECOACH, **AVX2_PEERS} if arguments.simd else {}
    if any(os.environ.get(key) != value for key, value in held.items()):
        # OpenBLAS read its variable when NumPy was imported.
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **held})
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    cases = [(name, batch, convolution, shape) for batch in (32, 8) for name, *shape in ALEXNET]
    cases += [(name, batch, linear, shape) for batch in (32, 8) for name, *shape in LINEAR]
    cases += [(name, 8, convolution, shape) for name, *shape in VGG]
    rows = []
    for name, batch, make, shape in cases:
        if name.startswith(arguments.only):
            rows += measure(arguments, name, batch, make(batch, *shape))
            print(table(rows[-3:]).split("\n", 2)[2], flush=True)
    model, vectors = run_peers.processor()
    processor = f"{model} ({', '.join(vectors)})"
    if held:
        processor += f", all held to {arguments.simd} by " + " ".join(
            f"{key}={value}" for key, value in held.items())
    words = [word.replace(f"{run_peers.ROOT}/", "") for word in sys.argv[1:]]
    record = {"date": str(datetime.date.today()),
              "commit": run_peers.git("rev-parse", "--short", "HEAD"),
              "processor": processor, "torch": torch.__version__,
              "numpy": numpy.__version__, "rounds": arguments.rounds,
              "command": shlex.join(["python", "bench/peers/kernels.py", *words]), "rows": rows}
    if arguments.output:
        peak = statistics.median(row["peak_gflops"] for row in rows)
        arguments.output.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
        arguments.output.with_suffix(".md").write_text(
            f"# Kernels beside PyTorch and OpenBLAS\n\n{record['processor']}, one core, at most {peak:.0f} GFLOP/s; "
            f"{record['date']}, commit {record['commit']}; PyTorch {torch.__version__}, NumPy "
            f"{numpy.__version__}.\n\n    {record['command']}\n\nGFLOP/s of a direct convolution's work, medians of "
            f"{arguments.rounds} alternating rounds; ratios above 1: ours is faster.\n\n{table(rows)}\n")


if __name__ == "__main__":
    main()
