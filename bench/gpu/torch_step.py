#!/usr/bin/env python3
"""PyTorch on a GPU: training steps of AlexNet on synthetic images that lie on the GPU.

Runs the settings in turn in one process and prints one JSON line for each. torchvision is not
needed. A step is zero_grad, forward, cross entropy, backward, SGD; its loss stays on the GPU. A setting
runs for --seconds, of which the first one does not count.
"""

import argparse
import contextlib
import gc
import json
import pathlib
import statistics
import sys
import time
import traceback

import torch
from torch import nn

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "peers"))
from peer import CLASSES, SEED, SGD  # noqa: E402

# What a setting changes; "default" changes nothing. PyTorch lets convolutions use TF32 by itself,
# but not matrix products.
SETTINGS = {
    "default": {},
    "fp32": {"tf32": False},
    "tf32": {"tf32": True},
    "tf32-graph": {"tf32": True, "tuned": True, "graph": True},
    "bf16": {"tuned": True, "bf16": True},
    "bf16-compile": {"tuned": True, "bf16": True, "compile": True},
    "bf16-graph": {"tuned": True, "bf16": True, "graph": True},
    "bf16-graph-images": {"tuned": True, "bf16": True, "graph": True, "images": True},
}
DROPPED_SECONDS = 1.0  # of a run: the clocks rise
GPU_ONLY = {name for name, how in SETTINGS.items() if how.get("graph")}


def show(result):
    print(json.dumps(result), flush=True)


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="tuned: channels_last, cudnn.benchmark, fused SGD; graph: the whole step as a CUDA "
               "graph; images: bytes of 32 x 32 pixels, resized in every step; settings: " +
               ", ".join(SETTINGS))
    parser.add_argument("--settings", default=",".join(SETTINGS), metavar="NAME,...")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--seconds", type=float, default=4.5)
    parser.add_argument("--warmup", type=int, default=10, help="steps before those")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--compile-mode", default="reduce-overhead",
                        help="of torch.compile; max-autotune takes minutes")
    arguments = parser.parse_args()
    unknown = set(arguments.settings.split(",")) - set(SETTINGS)
    if unknown:
        parser.error(f"no setting {', '.join(sorted(unknown))}; there are {', '.join(SETTINGS)}")
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error("PyTorch sees no GPU: use --device cpu to try the script")
    return arguments


def alexnet():
    """torchvision's AlexNet with 10 classes."""
    def convolution(inputs, outputs, kernel, **more):
        return [nn.Conv2d(inputs, outputs, kernel, **more), nn.ReLU(inplace=True)]

    def pool():
        return nn.MaxPool2d(kernel_size=3, stride=2)

    return nn.Sequential(
        *convolution(3, 64, 11, stride=4, padding=2), pool(),
        *convolution(64, 192, 5, padding=2), pool(),
        *convolution(192, 384, 3, padding=1),
        *convolution(384, 256, 3, padding=1),
        *convolution(256, 256, 3, padding=1), pool(),
        nn.AdaptiveAvgPool2d(6), nn.Flatten(1),
        nn.Dropout(0.5), nn.Linear(256 * 6 * 6, 4096), nn.ReLU(inplace=True),
        nn.Dropout(0.5), nn.Linear(4096, 4096), nn.ReLU(inplace=True),
        nn.Linear(4096, CLASSES))


def set_tf32(allowed):
    torch.backends.cuda.matmul.allow_tf32 = bool(allowed)
    torch.backends.cudnn.allow_tf32 = allowed is not False


def resized(pixels, size):
    """The middle of the images, resized and normalised as Stagecoach's loader does it."""
    large = nn.functional.interpolate(pixels.float(), size * 8 // 7, mode="bilinear")
    first = (large.shape[-1] - size) // 2
    middle = large[..., first:first + size, first:first + size]
    return ((middle - 120.0) / 58.0).to(memory_format=torch.channels_last)


def make_step(how, arguments):
    """A function that trains one step and returns the loss, a tensor on the device."""
    set_tf32(how.get("tf32"))
    tuned = how.get("tuned", False)
    torch.backends.cudnn.benchmark = tuned
    torch.manual_seed(SEED)
    network = alexnet().to(arguments.device)
    size = arguments.image_size
    images = torch.randn(arguments.batch, 3, size, size, device=arguments.device)
    labels = torch.randint(CLASSES, (arguments.batch,), device=arguments.device)
    if tuned:
        network = network.to(memory_format=torch.channels_last)
        images = images.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), **SGD, fused=True if tuned else None)
    if how.get("images"):
        images = torch.randint(256, (arguments.batch, 3, 32, 32), dtype=torch.uint8,
                               device=arguments.device)
    bf16 = torch.autocast(arguments.device, torch.bfloat16) if how.get("bf16") else \
        contextlib.nullcontext()

    def forward(images, labels):
        if how.get("images"):
            images = resized(images, size)
        with bf16:
            return nn.functional.cross_entropy(network(images), labels)

    if how.get("compile"):
        forward = torch.compile(forward, mode=arguments.compile_mode)

    def step():
        optimizer.zero_grad()
        loss = forward(images, labels)
        loss.backward()
        optimizer.step()
        return loss

    return as_graph(step) if how.get("graph") else step


def as_graph(step):
    """The step, captured: the kernels of one call, launched together by each later call."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # plans and momentum must exist before the capture
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = step()

    def replay():
        graph.replay()
        return loss

    return replay


def time_on_gpu(step, steps):
    """Seconds between the ends of consecutive steps: no step waits for the host."""
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(steps + 1)]
    marks[0].record()
    for mark in marks[1:]:
        loss = step()
        mark.record()
    torch.cuda.synchronize()
    return [1e-3 * a.elapsed_time(b) for a, b in zip(marks, marks[1:])], loss.item()


def time_on_cpu(step, steps):
    seconds = []
    for _ in range(steps):
        start = time.perf_counter()
        loss = step()
        seconds.append(time.perf_counter() - start)
    return seconds, loss.item()


def run(name, arguments):
    on_gpu = arguments.device == "cuda"
    measure = time_on_gpu if on_gpu else time_on_cpu
    step = make_step(SETTINGS[name], arguments)
    for _ in range(arguments.warmup):
        step()
    one = statistics.median(measure(step, 5)[0])
    # In one go: behind a pause the clocks would have fallen again.
    dropped = min(DROPPED_SECONDS, arguments.seconds / 2)
    seconds, loss = measure(step, max(4, round(arguments.seconds / one)))
    counted = seconds[min(round(dropped / one), len(seconds) // 2):]
    median = statistics.median(counted)
    return {"images_per_second": arguments.batch / median, "step_seconds_median": median,
            "step_seconds_min": min(counted), "steps": len(counted), "seconds": sum(counted),
            "loss": loss, "peak_memory_bytes": torch.cuda.max_memory_allocated() if on_gpu else None}


def main():
    arguments = parse_arguments()
    failed = False
    for name in arguments.settings.split(","):
        facts = {"name": "torch_step", "setting": name, "batch": arguments.batch,
                 "device": torch.cuda.get_device_name() if arguments.device == "cuda" else "cpu",
                 "torch": torch.__version__}
        if arguments.device == "cpu" and name in GPU_ONLY:
            show({**facts, "not_run": "CUDA graphs need a GPU"})
            continue
        try:
            show({**facts, **run(name, arguments)})
        except Exception as error:  # a setting that fails must not cost the others
            traceback.print_exc()
            first = (str(error).strip().splitlines() or [""])[0]
            show({**facts, "error": f"{type(error).__name__}: {first}"})
            failed = True
        # Nothing of one setting is left for the next.
        torch.compiler.reset()
        gc.collect()
        if arguments.device == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
