"""What the peers share: the network, the input, the clock and the result line."""

import json
import os
import resource
import socket
import statistics
import time

import torch
import torch.distributed as dist
from torch import nn

CLASSES = 10
IMAGE_SIZE = 224
SGD = {"lr": 0.01, "momentum": 0.9, "weight_decay": 5e-4}
SEED = 1138


def alexnet_layers():
    """AlexNet as the list of 22 layers that DeepSpeed's pipeline example makes of it."""
    import torchvision  # only here: bench/gpu does without it

    torch.manual_seed(SEED)
    network = torchvision.models.AlexNet(num_classes=CLASSES)
    return [*network.features, network.avgpool, nn.Flatten(1), *network.classifier]


def allow_cut_before(layer):
    """A stage's input is a leaf that needs a gradient: its first layer must not overwrite it."""
    if getattr(layer, "inplace", False):
        layer.inplace = False


def synthetic_batch(size):
    generator = torch.Generator().manual_seed(SEED)
    images = torch.randn(size, 3, IMAGE_SIZE, IMAGE_SIZE, generator=generator)
    labels = torch.randint(CLASSES, (size,), generator=generator)
    return images, labels


def measure(step, steps, warmup):
    """Seconds of each of `steps` calls of step(), after `warmup` calls that do not count."""
    for _ in range(warmup):
        step()
    seconds = []
    for _ in range(steps):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return seconds


def peak_rss_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def print_result(name, images, seconds, threads, loss, peak_rss, **more):
    """The JSON line that run_peers.py reads. `images` per step; `peak_rss` of each process."""
    median = statistics.median(seconds)
    print(json.dumps({
        "name": name,
        "images_per_second": images / median,
        "step_seconds_median": median,
        "step_seconds_min": min(seconds),
        "steps": len(seconds),
        "threads": threads,
        "loss": loss,
        "peak_rss_mib": peak_rss,
        "torch": torch.__version__,
        **more,
    }), flush=True)


def measure_ranks(name, images, step, arguments, **more):
    """Measures step() on all ranks of the group; the first one's seconds are printed, with the loss
    of the last. No barrier between steps: the ranks may overlap them as they do in real use, and
    the first stage's step, from its own start to the next, is the period of a pipeline."""
    seconds = measure(step, arguments.steps, arguments.warmup)
    results = [None] * dist.get_world_size()
    dist.all_gather_object(results, (step(), peak_rss_mib()))
    if dist.get_rank() == 0:
        print_result(name, images, seconds, arguments.threads, results[-1][0],
                     [peak for _, peak in results], **more)
    dist.destroy_process_group()


def spawn_ranks(function, ranks, arguments):
    """Runs function(rank, arguments) in processes that meet over gloo on this machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), WORLD_SIZE=str(ranks),
                      LOCAL_SIZE=str(ranks), GLOO_SOCKET_IFNAME="lo")
    torch.multiprocessing.spawn(_run_rank, args=(function, arguments), nprocs=ranks)


def _run_rank(rank, function, arguments):
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank))
    torch.set_num_threads(arguments.threads)
    function(rank, arguments)
