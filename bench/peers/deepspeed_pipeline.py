"""DeepSpeed's PipelineModule on the CPU over gloo: AlexNet in two stages, a process each, set up as
DeepSpeed's own pipeline example does it. Prints one JSON line."""

import argparse
import itertools
import os
import sys

# DeepSpeed reads both when imported. What it compiles stays in the throw-away environment.
os.environ.setdefault("TORCH_EXTENSIONS_DIR", os.path.join(sys.prefix, "torch_extensions"))
os.environ.setdefault("DS_ACCELERATOR", "cpu")

import deepspeed
from deepspeed.pipe import PipelineModule
from torch import nn

import peer

STAGES = 2
OPTIMIZERS = {
    "adam": {"type": "Adam", "params": {"lr": 1e-3, "betas": [0.9, 0.999], "eps": 1e-8}},
    "sgd": {"type": "SGD", "params": peer.SGD},
}


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--partition", choices=["parameters", "uniform"], default="parameters")
    parser.add_argument("--optimizer", choices=OPTIMIZERS, default="adam")
    parser.add_argument("--micro-batch-size", type=int, default=8)
    parser.add_argument("--micro-batches", type=int, default=8, help="gradient accumulation steps")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    return parser.parse_args()


def make_engine(arguments):
    layers = peer.alexnet_layers()
    module = PipelineModule(layers=layers, loss_fn=nn.CrossEntropyLoss(), num_stages=STAGES,
                            partition_method=arguments.partition, activation_checkpoint_interval=0)
    for first in module.parts[1:-1]:
        peer.allow_cut_before(layers[first])
    batch = arguments.micro_batch_size * arguments.micro_batches
    engine, *_ = deepspeed.initialize(
        model=module,
        model_parameters=[p for p in module.parameters() if p.requires_grad],
        config={
            "train_batch_size": batch,
            "train_micro_batch_size_per_gpu": arguments.micro_batch_size,
            "gradient_accumulation_steps": arguments.micro_batches,
            "optimizer": OPTIMIZERS[arguments.optimizer],
            "steps_per_print": 1_000_000,
        })
    return engine, [int(part) for part in module.parts]


def run_rank(rank, arguments):
    deepspeed.init_distributed(dist_backend="gloo", verbose=False)
    engine, parts = make_engine(arguments)
    micro_batches = itertools.repeat(peer.synthetic_batch(arguments.micro_batch_size))
    step = lambda: float(engine.train_batch(micro_batches))
    peer.measure_ranks("deepspeed_pipeline", engine.train_batch_size(), step, arguments,
                       partition=arguments.partition, parts=parts, optimizer=arguments.optimizer,
                       deepspeed=deepspeed.__version__)


if __name__ == "__main__":
    peer.spawn_ranks(run_rank, STAGES, parse_arguments())
