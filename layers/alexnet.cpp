// Krizhevsky: "One weird trick for parallelizing convolutional neural networks", 2014; layers and
// names as in torchvision/models/alexnet.py.
#include "layers/layers.h"
#include "layers/network.h"

namespace stagecoach {

Network make_alexnet(int num_classes, float dropout, float label_smoothing) {
  const auto convolution = [](int in, int out, int kernel, int stride, int padding) {
    return conv2d_layer(in, out, kernel, {stride, stride, padding, padding});
  };
  const auto pool = [] { return max_pool2d_layer({3, 3, 2, 2, 0, 0}); };
  return {"alexnet",
          {{"features.0", convolution(3, 64, 11, 4, 2)},
           {"features.1", relu_layer()},
           {"features.2", pool()},
           {"features.3", convolution(64, 192, 5, 1, 2)},
           {"features.4", relu_layer()},
           {"features.5", pool()},
           {"features.6", convolution(192, 384, 3, 1, 1)},
           {"features.7", relu_layer()},
           {"features.8", convolution(384, 256, 3, 1, 1)},
           {"features.9", relu_layer()},
           {"features.10", convolution(256, 256, 3, 1, 1)},
           {"features.11", relu_layer()},
           {"features.12", pool()},
           {"avgpool", adaptive_avg_pool2d_layer(6, 6)},
           {"", flatten_layer()},
           {"classifier.0", dropout_layer(dropout)},
           {"classifier.1", linear_layer(256 * 6 * 6, 4096)},
           {"classifier.2", relu_layer()},
           {"classifier.3", dropout_layer(dropout)},
           {"classifier.4", linear_layer(4096, 4096)},
           {"classifier.5", relu_layer()},
           {"classifier.6", linear_layer(4096, num_classes)}},
          softmax_cross_entropy_loss(label_smoothing)};
}

}  // namespace stagecoach
