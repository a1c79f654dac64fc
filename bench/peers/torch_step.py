"""PyTorch in one process: training steps of AlexNet on synthetic images. Prints one JSON line."""

import argparse

import torch
from torch import nn

import peer


def options(description):
    """Those that torch_ddp.py has too."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--batch", type=int, default=32, help="images of a process's micro-batch")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--fused", action="store_true", help="fused SGD")
    return parser


def make_network(arguments):
    network = nn.Sequential(*peer.alexnet_layers())
    return network.to(memory_format=torch.channels_last) if arguments.channels_last else network


def make_step(network, images, labels, arguments, micro_batches=1):
    if arguments.channels_last:
        images = images.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), **peer.SGD,
                                fused=True if arguments.fused else None)
    loss_function = nn.CrossEntropyLoss()

    def step():
        optimizer.zero_grad()
        total = 0.0
        for _ in range(micro_batches):
            loss = loss_function(network(images), labels) / micro_batches
            loss.backward()
            total += loss.item()
        optimizer.step()
        return total

    return step


def main():
    parser = options(__doc__)
    parser.add_argument("--micro-batches", type=int, default=1,
                        help="gradient accumulation: micro-batches of a step")
    parser.add_argument("--threads", type=int, help="default: what PyTorch picks by itself")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    step = make_step(make_network(arguments), *peer.synthetic_batch(arguments.batch), arguments,
                     arguments.micro_batches)
    seconds = peer.measure(step, arguments.steps, arguments.warmup)
    peer.print_result("torch_step", arguments.batch * arguments.micro_batches, seconds,
                      torch.get_num_threads(), step(), [peer.peak_rss_mib()])


if __name__ == "__main__":
    main()
