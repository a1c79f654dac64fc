#!/usr/bin/env python3
"""Writes what PyTorch computes for AlexNet, for tests/trainer/alexnet_golden_test.cpp.

usage: make_golden.py FILE.safetensors     (needs torch, torchvision, safetensors, numpy)

torchvision.models.alexnet(num_classes=10, dropout=0) on two images of 224 x 224, in float64 from
float32 inputs, so that what it holds is exact next to float32:

  images    element e (row-major C, H, W) of sample n is (2u - 1) * 2 in float32, u being element e
            of RandomStream{seed 1138, kSyntheticData, sample n} (core/philox.h)
  weights   parameter i (in the order of named_parameters()): element e (row-major, O, I, KH, KW) is
            (2u - 1) * bound in float32, u of RandomStream{seed 1138, kInitialWeights, layer i},
            bound = 1 / sqrt(inputs of one output), in float64 and then rounded to float32
  loss      the mean cross-entropy; torch.optim.Adam(lr=1e-4) makes three steps on this one batch
  labels    5 and 2: with them, PyTorch in float32 and in float64 decide every ReLU and every pool
            alike. With 3 and 7, one place of features.12 is so near a tie before the second step
            that they differ, and after it a hundredth of features.0.weight's gradient does.

Tensors (float32 but for labels): labels, logits, loss, losses_after (after each of the steps); for
every parameter P: P.initial, P.grad (of the first step), P.weight (after three steps), each at up
to 512 places; P.grad_sum_and_norm and P.weight_sum_and_norm over all elements (sum, L2 norm).

A tensor of n elements is sampled at the places (k * 2654435761) % n, k = 0 ... min(n, 512) - 1, in
row-major order. The multiplier is a prime that divides no n, so the places differ, and they share
no row or column.
"""
import sys

import numpy as np
import safetensors
import torch
import torchvision
from safetensors.numpy import save_file

SEED = 1138
INITIAL_WEIGHTS, SYNTHETIC_DATA = 1, 5  # RandomUse in core/philox.h
LABELS = [5, 2]
SAMPLES = 512
STEPS = 3
WORD = np.uint64(0xFFFFFFFF)


def philox(counter, key):
    """Ten rounds of Philox4x32 over arrays of counters; words are kept in uint64."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        p0 = np.uint64(0xD2511F53) * c0
        p1 = np.uint64(0xCD9E8D57) * c2
        c0, c1, c2, c3 = ((p1 >> np.uint64(32)) ^ c1 ^ np.uint64(k0), p1 & WORD,
                          (p0 >> np.uint64(32)) ^ c3 ^ np.uint64(k1), p0 & WORD)
        k0 = (k0 + 0x9E3779B9) & 0xFFFFFFFF
        k1 = (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return c0, c1, c2, c3


def uniform(count, bound, use, layer=0, sample=0):
    """The first `count` elements of a RandomStream, as fill_uniform (kernels/uniform.h) has it."""
    result = np.empty((count + 3) // 4 * 4, np.float32)
    piece = 1 << 20  # blocks at a time, to keep the counters small
    for first in range(0, len(result) // 4, piece):
        index = np.arange(first, min(first + piece, len(result) // 4), dtype=np.uint64)
        rest = [np.full_like(index, value) for value in (sample, 0, use << 16 | layer)]
        words = philox((index, *rest), (SEED & 0xFFFFFFFF, SEED >> 32))
        u = (np.stack(words, axis=1) >> np.uint64(8)).astype(np.float32) * np.float32(2.0**-24)
        values = (np.float32(2) * u - np.float32(1)) * np.float32(bound)
        result[4 * first:4 * (first + len(index))] = values.reshape(-1)
    return result[:count]


def check_philox():
    """Known answers of Random123 1.14.0 (tests/kat_vectors)."""
    def one(counter, key):
        words = philox([np.array([c], np.uint64) for c in counter], key)
        return [int(word[0]) for word in words]

    assert one([0] * 4, (0, 0)) == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    assert one([0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344], (0xA4093822, 0x299F31D0)) == [
        0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1]


def make_network():
    network = torchvision.models.alexnet(num_classes=10, dropout=0.0).double().train()
    with torch.no_grad():
        for i, parameter in enumerate(network.parameters()):
            if parameter.dim() > 1:  # a bias follows its weight and has the same bound
                fan_in = parameter[0].numel()
            values = uniform(parameter.numel(), 1.0 / np.sqrt(fan_in), INITIAL_WEIGHTS, layer=i)
            parameter.copy_(torch.from_numpy(values).view(parameter.shape))
    return network


def make_images():
    images = [uniform(3 * 224 * 224, 2.0, SYNTHETIC_DATA, sample=n) for n in range(len(LABELS))]
    return torch.from_numpy(np.stack(images)).view(-1, 3, 224, 224).double()


def samples(tensor):
    count = tensor.numel()
    places = torch.arange(min(count, SAMPLES)) * 2654435761 % count
    return tensor.detach().reshape(-1)[places]


def sum_and_norm(tensor):
    return torch.stack([tensor.detach().sum(), tensor.detach().norm()])


def main(file):
    check_philox()
    network, images, labels = make_network(), make_images(), torch.tensor(LABELS)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
    parameters = dict(network.named_parameters())
    result = {f"{name}.initial": samples(p).clone() for name, p in parameters.items()}

    def loss_of_batch():
        logits = network(images)
        return logits, torch.nn.functional.cross_entropy(logits, labels)

    logits, loss = loss_of_batch()
    result |= {"logits": logits.detach(), "loss": loss.detach().view(1)}
    losses = []
    for step in range(STEPS):
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            for name, p in parameters.items():
                result[f"{name}.grad"] = samples(p.grad)
                result[f"{name}.grad_sum_and_norm"] = sum_and_norm(p.grad)
        optimizer.step()
        _, loss = loss_of_batch()
        losses.append(loss.detach())
    result["losses_after"] = torch.stack(losses)
    for name, p in parameters.items():
        result[f"{name}.weight"] = samples(p)
        result[f"{name}.weight_sum_and_norm"] = sum_and_norm(p)
    print("loss", loss_text(result["loss"]), "then", loss_text(result["losses_after"]))

    tensors = {name: tensor.float().numpy() for name, tensor in result.items()}
    tensors["labels"] = np.array(LABELS, np.int32)
    save_file(tensors, file, {
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "safetensors": safetensors.__version__,
        "numpy": np.__version__,
        "made_by": "scripts/make_golden.py tests/data_files/alexnet_golden.safetensors",
    })


def loss_text(losses):
    return ", ".join(f"{loss:.9f}" for loss in losses.tolist())


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
