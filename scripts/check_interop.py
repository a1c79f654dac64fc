#!/usr/bin/env python3
"""Checks that PyTorch and Stagecoach read each other's weights.

  scripts/check_interop.py load FILE   loads what `stagecoach train --save FILE` wrote into
                                       torchvision's AlexNet (strict=True), runs it, and writes it
                                       back to compare
  scripts/check_interop.py save FILE   saves a freshly initialised torchvision AlexNet, for
                                       `stagecoach train --init FILE`

Needs the Python packages torch, torchvision and safetensors.
"""

import argparse
import sys
import tempfile

import torch
import torchvision
from safetensors import safe_open
from safetensors.torch import load_file, save_file


def alexnet():
    return torchvision.models.alexnet(num_classes=10).eval()


def load(path):
    with safe_open(path, framework="pt") as file:
        print("metadata:", file.metadata())
    weights = load_file(path)
    network = alexnet()
    network.load_state_dict(weights, strict=True)
    logits = network(torch.zeros(2, 3, 224, 224))
    if logits.shape != (2, 10) or not torch.isfinite(logits).all():
        sys.exit(f"expected finite logits [2, 10], got {logits}")
    with tempfile.NamedTemporaryFile(suffix=".safetensors") as copy:
        save_file(network.state_dict(), copy.name)
        again = load_file(copy.name)
    for name, tensor in weights.items():
        if not torch.equal(tensor.view(torch.uint8), again[name].view(torch.uint8)):
            sys.exit(f"{name} changed on the way through PyTorch")
    parameters = sum(tensor.numel() for tensor in weights.values())
    print(f"{path}: {len(weights)} tensors, {parameters:,} parameters, loaded with strict=True")


def save(path, seed):
    torch.manual_seed(seed)
    network = alexnet()
    save_file(network.state_dict(), path, metadata={"format": "pt"})
    print(f"{path}: {len(network.state_dict())} tensors")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["load", "save"])
    parser.add_argument("file")
    parser.add_argument("--seed", type=int, default=1138, help="of the weights that are saved")
    arguments = parser.parse_args()
    if arguments.action == "load":
        load(arguments.file)
    else:
        save(arguments.file, arguments.seed)


if __name__ == "__main__":
    main()
