#!/usr/bin/env python3
"""The first steps of a training beside PyTorch's, from the same weights, in one picture.

PyTorch gets the same initial weights, the same images in the same order with the same crops and flips,
and the same dropout masks (Stagecoach's are pure functions of the seed, so they can be made again here).
What is left is rounding: the losses begin equal, and how they part is what the picture shows. With
--device cuda both train on GPU 0; in bf16 PyTorch's side is autocast.

Writes PREFIX.svg, PREFIX.json and PREFIX.md. Needs CIFAR-10's binary files in --data-dir; of the
training files, those that hold the first --max-train-samples images.
"""

import argparse
import datetime
import json
import pathlib
import subprocess
import tempfile

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

import peer
import run_peers

DROPOUT, SHUFFLE, AUGMENTATION = 2, 3, 4  # RandomUse of core/philox.h
SIDE = 32
MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stagecoach", type=pathlib.Path, required=True, help="its binary")
    parser.add_argument("--data-dir", type=pathlib.Path, required=True)
    parser.add_argument("--output", type=pathlib.Path, required=True, metavar="PREFIX")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--image-size", type=int, default=112)
    parser.add_argument("--dropout", type=float, default=0.25)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--max-train-samples", type=int, default=50000)
    parser.add_argument("--lr", type=float, default=3e-4, help="of Adam")
    parser.add_argument("--seed", type=int, default=1138)
    return parser.parse_args()


def philox(seed, use, layer, step, sample, index):
    """The blocks of RandomStream{...}.block(index): uint32 [..., 4]."""
    mask, shift = np.uint64(0xFFFFFFFF), np.uint64(32)
    shape = np.broadcast_shapes(np.shape(sample), np.shape(index))
    counter = [np.broadcast_to(np.asarray(part, dtype=np.uint64), shape)
               for part in (index, sample, step, use << 16 | layer)]
    keys = [np.uint64(seed & 0xFFFFFFFF), np.uint64(seed >> 32)]
    for _ in range(10):
        first = np.uint64(0xD2511F53) * counter[0]
        second = np.uint64(0xCD9E8D57) * counter[2]
        counter = [second >> shift ^ counter[1] ^ keys[0], second & mask,
                   first >> shift ^ counter[3] ^ keys[1], first & mask]
        keys = [keys[0] + np.uint64(0x9E3779B9) & mask, keys[1] + np.uint64(0xBB67AE85) & mask]
    return np.stack(counter, axis=-1)


def shuffled(size, seed, epoch):
    """shuffled_indices() of data/sampler.h."""
    words = philox(seed, SHUFFLE, 0, epoch, 0, np.arange(size))
    indices = list(range(size))
    for i in range(size - 1, 0, -1):
        random = int(words[i, 1]) << 32 | int(words[i, 0])
        other = random * (i + 1) >> 64
        indices[i], indices[other] = indices[other], indices[i]
    return indices


class Dropout(nn.Module):
    """Stagecoach's masks for layer `layer` of the network."""

    def __init__(self, p, seed, layer):
        super().__init__()
        self.p, self.seed, self.layer, self.step = np.float32(p), seed, layer, 0

    def forward(self, x):
        rows, columns = x.shape
        blocks = philox(self.seed, DROPOUT, self.layer, self.step,
                        np.arange(rows)[:, None], np.arange((columns + 3) // 4))
        words = blocks.reshape(rows, -1)[:, :columns]
        uniform = (words >> np.uint64(8)).astype(np.float32) * np.float32(2.0 ** -24)
        keep = torch.from_numpy(uniform >= self.p).to(x.device)
        return x * float(np.float32(1) / (np.float32(1) - self.p)) * keep


def load_images(folder, count):
    files = range(1, 2 + (count - 1) // 10000)
    records = np.concatenate([
        np.fromfile(folder / f"data_batch_{i}.bin", dtype=np.uint8).reshape(-1, 1 + 3 * SIDE * SIDE)
        for i in files])[:count]
    return records[:, 1:].reshape(-1, 3, SIDE, SIDE), records[:, 0].astype(np.int64)


def transformed(image, seed, epoch, sample, size):
    """A crop anywhere of the resized image, mirrored by chance: crop_of() of data/loader.cpp."""
    words = philox(seed, AUGMENTATION, 0, epoch, sample, 0)
    resize = size * 8 // 7
    top, left = (int(words[i]) * (resize - size + 1) >> 32 for i in (0, 1))
    pil = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))
    pixels = np.asarray(pil.resize((resize, resize), Image.BILINEAR))
    pixels = pixels[top:top + size, left:left + size]
    if int(words[2]) >> 31:
        pixels = pixels[:, ::-1]
    tensor = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))).float() / 255
    return (tensor - MEAN) / STD


def torch_losses(layers, arguments):
    images, labels = load_images(arguments.data_dir, arguments.max_train_samples)
    order = shuffled(len(images), arguments.seed, 0)
    dropouts = []
    for i, layer in enumerate(layers):
        if isinstance(layer, nn.Dropout):
            layers[i] = Dropout(arguments.dropout, arguments.seed, i)
            dropouts.append(layers[i])
    network = nn.Sequential(*layers).to(arguments.device, memory_format=torch.channels_last)
    # As strict as Stagecoach's fp32.
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    narrow = torch.autocast(arguments.device, torch.bfloat16, enabled=arguments.precision == "bf16")
    optimizer = torch.optim.Adam(network.parameters(), lr=arguments.lr)
    losses = []
    for step in range(arguments.steps):
        for dropout in dropouts:
            dropout.step = step
        samples = order[step * arguments.batch:(step + 1) * arguments.batch]
        batch = torch.stack([transformed(images[s], arguments.seed, 0, s, arguments.image_size)
                             for s in samples])
        optimizer.zero_grad()
        with narrow:
            loss = nn.functional.cross_entropy(network(batch.to(arguments.device)),
                                               torch.from_numpy(labels[samples]).to(arguments.device))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def stagecoach_losses(weights, arguments, folder):
    metrics = folder / "metrics"
    command = ["train", "--data", "cifar10", "--data-dir", str(arguments.data_dir), "--quiet",
               "--init", str(weights), "--metrics", str(metrics), "--steps", str(arguments.steps),
               "--micro-batch-size", str(arguments.batch // 4), "--micro-batches", "4",
               "--image-size", str(arguments.image_size), "--optimizer", "adam", "--lr",
               str(arguments.lr), "--dropout", str(arguments.dropout), "--seed",
               str(arguments.seed), "--random-crop", "--random-flip", "--device", arguments.device,
               "--precision", arguments.precision, "--max-train-samples",
               str(arguments.max_train_samples)]
    subprocess.run([arguments.stagecoach.resolve(), *command], check=True,
                   stdout=subprocess.DEVNULL)
    return [json.loads(line)["loss"] for line in metrics.read_text().splitlines()]


def smoothed(losses, width=10):
    return [sum(losses[max(0, i - width + 1):i + 1]) / min(width, i + 1) for i in range(len(losses))]


def picture(ours, theirs):
    """Both curves as means over ten steps, and the points that they are the means of."""
    width, height, left, top = 900, 420, 60, 50
    low, high = min(ours + theirs), max(ours + theirs)
    x = lambda i: left + (width - left - 20) * i / max(1, len(ours) - 1)
    y = lambda v: top + (height - top - 50) * (high - v) / (high - low)
    text = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'font-family="sans-serif" font-size="13">',
            f'<rect width="{width}" height="{height}" fill="white"/>',
            f'<text x="{left}" y="22" font-size="15">Training loss of the first {len(ours)} steps, '
            'from the same weights</text>']
    for i in range(5):
        value = low + (high - low) * i / 4
        text.append(f'<path d="M{left} {y(value):.1f}H{width - 20}" stroke="#ddd"/>'
                    f'<text x="{left - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.2f}</text>')
        step = round((len(ours) - 1) * i / 4)
        text.append(f'<text x="{x(step):.1f}" y="{height - 28}" text-anchor="middle">{step + 1}</text>')
    text.append(f'<text x="{(left + width) / 2}" y="{height - 8}" text-anchor="middle">step</text>')
    for losses, name, colour, at, line in ((theirs, "PyTorch", "#d55e00", 0, 5),
                                           (ours, "Stagecoach", "#0072b2", 1, 2)):
        text += [f'<circle cx="{x(i):.1f}" cy="{y(v):.1f}" r="1.5" fill="{colour}" opacity="0.4"/>'
                 for i, v in enumerate(losses)]
        points = " ".join(f"{x(i):.1f},{y(v):.1f}" for i, v in enumerate(smoothed(losses)))
        text.append(f'<polyline points="{points}" fill="none" stroke="{colour}" '
                    f'stroke-width="{line}"/>')
        text.append(f'<text x="{width - 250}" y="{top + 20 + 20 * at}" fill="{colour}">{name}: mean of '
                    'ten steps</text>')
    return "\n".join([*text, "</svg>", ""])


def report(record):
    ours, theirs = record["stagecoach"], record["torch"]
    rows = [f"| {n} | {ours[n - 1]:.6f} | {theirs[n - 1]:.6f} | {abs(ours[n - 1] - theirs[n - 1]):.1e} |"
            for n in (1, 2, 5, 10, 20, 50, 100, 200, 500) if n <= len(ours)]
    name = pathlib.Path(record["picture"]).name
    return "\n".join([
        "# The first steps of the recipe, beside PyTorch's", "",
        f"    {record['command']}", "",
        f"- {record['date']}, commit {record['commit']}; {record['processor']}"
        f"{', ' + record['gpu'] if record['gpu'] else ''}, torch {torch.__version__}",
        "- the same weights (PyTorch's), images, crops, flips and dropout masks; Stagecoach trains on two "
        "stages, PyTorch in one piece", "",
        f"![training loss of both]({name})", "",
        "| step | Stagecoach | PyTorch | difference |", "| ---: | ---: | ---: | ---: |", *rows, "",
        f"Mean of the last 20 steps: {np.mean(ours[-20:]):.4f} and {np.mean(theirs[-20:]):.4f}.", ""])


def own_command():
    words = run_peers.own_command().replace("run_peers", "first_steps")
    return words.replace(str(pathlib.Path.home()), "~")


def main():
    arguments = parse_arguments()
    layers = peer.alexnet_layers()
    with tempfile.TemporaryDirectory() as name:
        weights = pathlib.Path(name) / "weights.safetensors"
        prefixes = [f"features.{i}." for i in range(13)] + ["", ""] + [
            f"classifier.{i}." for i in range(7)]
        save_file({prefix + key: value.contiguous()
                   for prefix, layer in zip(prefixes, layers)
                   for key, value in layer.state_dict().items()}, weights)
        ours = stagecoach_losses(weights, arguments, pathlib.Path(name))
    theirs = torch_losses(layers, arguments)
    record = {"command": own_command(),
              "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
              "commit": run_peers.commit(),
              "processor": run_peers.processor()[0],
              "gpu": torch.cuda.get_device_name() if arguments.device == "cuda" else None,
              "picture": arguments.output.name + ".svg",
              "stagecoach": ours, "torch": theirs}
    for ending, text in ((".svg", picture(ours, theirs)), (".json", json.dumps(record) + "\n"),
                         (".md", report(record))):
        arguments.output.with_name(arguments.output.name + ending).write_text(text)
    print(report(record))


if __name__ == "__main__":
    main()
