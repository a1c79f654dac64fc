#!/usr/bin/env python3
"""The least time that a training step of AlexNet can take on a GPU: a roofline for each kernel.

A kernel takes the longer of its floating-point operations at the rate of its precision and its bytes
at the rate of the memory; a step is their sum. Each kernel reads its inputs and writes its outputs
once, and no cache saves a byte from one kernel to the next. The step is the one of torchvision's
AlexNet with 10 classes at 224 x 224: convolution + bias + ReLU in one kernel, the first convolution
in its space-to-depth form but counted at its useful products, max-pool with a one-byte index, the
ReLU's gradient in the kernel before it, bias gradients as a pass of their own, weight gradients in
fp32, and SGD with momentum in one kernel.
"""

import argparse
import dataclasses

# One H100 SXM: two of them measured there (a copy's bytes read and written, a large bf16 matrix
# product), TF32 and fp32 in proportion to the data sheet.
BYTES_PER_SECOND = 3.0e12
FLOPS_PER_SECOND = {"bf16": 790e12, "tf32": 400e12, "fp32": 60e12}
ACTIVATION_BYTES = {"bf16": 2, "tf32": 4, "fp32": 4}
# SGD with momentum reads gradient, weight, velocity, and writes weight and velocity; bf16 also
# writes the copy that the matrix products read.
OPTIMIZER_BYTES = {"bf16": 22, "tf32": 20, "fp32": 20}


@dataclasses.dataclass(frozen=True)
class Convolution:
    name: str
    inputs: int  # elements of an image's input, as the kernel reads it
    outputs: int
    products: int  # multiply-adds of an image
    weights: int
    pooled: int = 0  # elements behind the max-pool, 0 without one
    input_gradient: bool = True
    masks_input: bool = False  # its input is a ReLU's output, not a pool's


@dataclasses.dataclass(frozen=True)
class Linear:
    name: str
    inputs: int
    outputs: int
    dropout: bool = False  # in front of it
    masks_input: bool = False

    @property
    def weights(self):
        return self.inputs * self.outputs


def convolution(name, channels, size, outputs, kernel, **more):
    products = outputs * size * size * channels * kernel * kernel
    inputs = more.pop("inputs", channels * size * size)
    return Convolution(name, inputs, outputs * size * size, products,
                       outputs * channels * kernel * kernel, **more)


CONVOLUTIONS = (
    convolution("conv1", 3, 55, 64, 11, inputs=48 * 57 * 57, pooled=64 * 27 * 27,
                input_gradient=False),
    convolution("conv2", 64, 27, 192, 5, pooled=192 * 13 * 13),
    convolution("conv3", 192, 13, 384, 3),
    convolution("conv4", 384, 13, 256, 3, masks_input=True),
    convolution("conv5", 256, 13, 256, 3, pooled=256 * 6 * 6, masks_input=True),
)
LINEARS = (Linear("fc1", 9216, 4096, dropout=True),
           Linear("fc2", 4096, 4096, dropout=True, masks_input=True),
           Linear("fc3", 4096, 10, masks_input=True))
PARAMETERS = 57_044_810


@dataclasses.dataclass(frozen=True)
class Kernel:
    layer: str
    name: str
    flops: float
    bytes: float

    def seconds(self, precision):
        return max(self.flops / FLOPS_PER_SECOND[precision], self.bytes / BYTES_PER_SECOND)


def convolution_kernels(layer, batch, width):
    """`width`: bytes of an activation."""
    inputs, outputs = batch * layer.inputs * width, batch * layer.outputs * width
    flops, weights = 2.0 * batch * layer.products, layer.weights * width
    yield "F", flops, inputs + weights + outputs
    if layer.pooled:
        pooled = batch * layer.pooled * (width + 1)  # and the index
        yield "pool", 0, outputs + pooled
        yield "pool gradient", 0, pooled + outputs
    yield "bias gradient", 0, outputs
    if layer.input_gradient:
        mask = inputs if layer.masks_input else 0
        yield "B", flops, outputs + weights + inputs + mask
    yield "W", flops, inputs + outputs + 4 * layer.weights


def linear_kernels(layer, batch, width):
    inputs, outputs = batch * layer.inputs * width, batch * layer.outputs * width
    flops, weights = 2.0 * batch * layer.weights, layer.weights * width
    if layer.dropout:
        yield "dropout", 0, 2 * inputs
        yield "dropout gradient", 0, 2 * inputs
    yield "F", flops, inputs + weights + outputs
    yield "bias gradient", 0, outputs
    yield "B", flops, outputs + weights + inputs + (inputs if layer.masks_input else 0)
    yield "W", flops, inputs + outputs + 4 * layer.weights


def kernels(batch, precision):
    width = ACTIVATION_BYTES[precision]
    result = [Kernel("input", "write", 0, batch * CONVOLUTIONS[0].inputs * width)]
    for layer in CONVOLUTIONS:
        result += [Kernel(layer.name, *k) for k in convolution_kernels(layer, batch, width)]
    for layer in LINEARS:
        result += [Kernel(layer.name, *k) for k in linear_kernels(layer, batch, width)]
    result.append(Kernel("optimizer", "SGD", 0, PARAMETERS * OPTIMIZER_BYTES[precision]))
    return result


def ideal_seconds(batch, precision):
    return sum(kernel.seconds(precision) for kernel in kernels(batch, precision))


def layer_seconds(batch, precision):
    """Layer -> seconds of its kernels, in the order of the network."""
    result = {}
    for kernel in kernels(batch, precision):
        result[kernel.layer] = result.get(kernel.layer, 0.0) + kernel.seconds(precision)
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--precision", choices=FLOPS_PER_SECOND, default="bf16")
    arguments = parser.parse_args()
    for layer, seconds in layer_seconds(arguments.batch, arguments.precision).items():
        print(f"{layer:10} {1e6 * seconds:8.1f} us")
    total = ideal_seconds(arguments.batch, arguments.precision)
    print(f"{'step':10} {1e6 * total:8.1f} us, {arguments.batch / total:.0f} images/s")


if __name__ == "__main__":
    main()
