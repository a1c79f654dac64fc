"""torch.distributed.pipelining over gloo: AlexNet in two stages, a process each. Prints one JSON
line. --cut is the index, in the list of 22 layers, of the second stage's first layer: 3 is after
the first pooling layer, 6 after the second, 8 after the third convolution's ReLU."""

import argparse

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.pipelining import PipelineStage, Schedule1F1B, ScheduleGPipe

import peer

STAGES = 2
SCHEDULES = {"gpipe": ScheduleGPipe, "1f1b": Schedule1F1B}


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cut", type=int, default=8)
    parser.add_argument("--schedule", choices=SCHEDULES, default="1f1b")
    parser.add_argument("--micro-batch-size", type=int, default=8)
    parser.add_argument("--micro-batches", type=int, default=8)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    parser.add_argument("--fused", action="store_true", help="fused SGD")
    arguments = parser.parse_args()
    layers = len(peer.alexnet_layers())
    if not 0 < arguments.cut < layers:
        parser.error(f"--cut: expected 1 to {layers - 1}, got {arguments.cut}")
    return arguments


def make_step(rank, arguments):
    layers = peer.alexnet_layers()
    peer.allow_cut_before(layers[arguments.cut])
    mine = layers[:arguments.cut] if rank == 0 else layers[arguments.cut:]
    module = nn.Sequential(*mine)
    stage = PipelineStage(module, rank, STAGES, torch.device("cpu"))
    schedule = SCHEDULES[arguments.schedule](
        stage, n_microbatches=arguments.micro_batches, loss_fn=nn.CrossEntropyLoss())
    optimizer = torch.optim.SGD(module.parameters(), **peer.SGD,
                                fused=True if arguments.fused else None)
    images, labels = peer.synthetic_batch(arguments.micro_batch_size * arguments.micro_batches)

    def step():
        optimizer.zero_grad()
        losses = []
        if rank == 0:
            schedule.step(images)
        else:
            schedule.step(target=labels, losses=losses)
        optimizer.step()
        return sum(loss.item() for loss in losses) / max(1, len(losses))

    return step


def run_rank(rank, arguments):
    dist.init_process_group("gloo")
    step = make_step(rank, arguments)
    peer.measure_ranks("torch_pipeline", arguments.micro_batch_size * arguments.micro_batches, step,
                       arguments, schedule=arguments.schedule, cut=arguments.cut)


if __name__ == "__main__":
    peer.spawn_ranks(run_rank, STAGES, parse_arguments())
