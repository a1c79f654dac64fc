#!/usr/bin/env python3
"""Writes what torchvision makes of some images, for tests/kernels/image_transform_test.cpp.

usage: make_image_golden.py FILE.safetensors     (needs torch, torchvision, Pillow, safetensors)

The file holds the inputs (U8 [N, 3, H, H]) and, for every case below, the pixels (U8, before
normalisation) that Resize and a crop on PIL images give; one case also as ToTensor and Normalize
leave it (F32). The versions that made it are in its metadata.
"""
import sys

import numpy as np
import PIL
import torch
import torchvision
from PIL import Image
from safetensors.numpy import save_file
from torchvision import transforms
from torchvision.transforms import functional

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

# (input, number of its images, resize, crop, None for the centre or (top, left, flip))
CASES = [
    ("side32", 1, 256, 224, None),
    ("side32", 1, 256, 224, (5, 32, True)),
    ("side32", 3, 73, 64, None),  # 64 * 8 // 7
    ("side32", 3, 36, 32, None),
    ("side32", 3, 36, 32, (4, 0, True)),
    ("side32", 3, 37, 33, None),
    ("side32", 3, 36, 33, None),  # margins of 1.5 and 2.5: Python rounds both to 2
    ("side32", 3, 36, 31, None),
    ("side32", 3, 32, 32, None),
    ("side32", 3, 32, 30, (2, 1, False)),
    ("side32", 3, 18, 16, None),
    ("side32", 3, 18, 16, (0, 2, True)),
    ("side32", 3, 5, 3, None),
    ("side61", 1, 36, 32, None),
    ("side61", 1, 73, 64, (9, 3, False)),
]


def make_images(side, seed):
    """Noise; a smooth image with a little noise; stripes and checks of 0 and 255."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:side, 0:side]
    noise = random.integers(0, 256, (3, side, side))
    smooth = np.stack([4 * y + 3 * x, 255 - 7 * y, 128 + 5 * (x - y)]) + random.integers(
        -9, 10, (3, side, side))
    sharp = 255 * np.stack([x % 2, (x // 3 + y // 3) % 2, y % 5 == 0])
    return np.clip(np.stack([noise, smooth, sharp]), 0, 255).astype(np.uint8)


def cut(image, resize, crop, place):
    """The pixels [3, crop, crop] of one image [3, H, H], and their normalised form."""
    pil = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))
    pil = transforms.Resize(resize)(pil)
    if place is None:
        pil = transforms.CenterCrop(crop)(pil)
    else:
        top, left, flip = place
        pil = functional.crop(pil, top, left, crop, crop)
        pil = functional.hflip(pil) if flip else pil
    normalized = transforms.Normalize(MEAN, STD)(transforms.ToTensor()(pil))
    return np.asarray(pil).transpose(2, 0, 1), normalized.numpy()


def name_of(source, resize, crop, place):
    where = "center" if place is None else "at_%d_%d%s" % (*place[:2], "_flip" * place[2])
    return f"{source}_resize{resize}_crop{crop}_{where}"


def main(file):
    inputs = {"side32": make_images(32, 1), "side61": make_images(61, 2)}
    tensors = dict(inputs)
    for source, count, resize, crop, place in CASES:
        results = [cut(image, resize, crop, place) for image in inputs[source][:count]]
        name = name_of(source, resize, crop, place)
        tensors[name] = np.stack([pixels for pixels, _ in results])
        if resize == 18 and place is None:
            tensors[name + "_normalized"] = np.stack([normalized for _, normalized in results])
    versions = {
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "pillow": PIL.__version__,
        "numpy": np.__version__,
        "made_by": "scripts/make_image_golden.py",
    }
    save_file({name: np.ascontiguousarray(t) for name, t in tensors.items()}, file, versions)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
