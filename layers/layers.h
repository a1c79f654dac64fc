// The layers. Each is described by the options of its PyTorch namesake and implemented in a file of
// its own; the networks are lists of these.
#pragma once

#include <memory>

#include "kernels/conv2d.h"
#include "kernels/max_pool2d.h"
#include "layers/layer.h"

namespace stagecoach {

// torch.nn.Conv2d; parameters "weight" [O, C, KH, KW] channels_last and "bias" [O], initialised in
// +-1 / sqrt(C * KH * KW). Input [N, C, H, W] channels_last.
std::shared_ptr<const Layer> conv2d_layer(std::int64_t in_channels, std::int64_t out_channels,
                                          std::int64_t kernel, const Conv2dOptions& options = {});
// torch.nn.Linear; parameters "weight" [O, I] and "bias" [O], initialised in +-1 / sqrt(I).
std::shared_ptr<const Layer> linear_layer(std::int64_t in_features, std::int64_t out_features);
// torch.nn.ReLU(inplace=True)
std::shared_ptr<const Layer> relu_layer();
// torch.nn.MaxPool2d
std::shared_ptr<const Layer> max_pool2d_layer(const MaxPool2dOptions& options);
// torch.nn.AdaptiveAvgPool2d
std::shared_ptr<const Layer> adaptive_avg_pool2d_layer(std::int64_t out_h, std::int64_t out_w);
// torch.flatten(x, 1): [N, C, H, W] channels_last to [N, C * H * W] in C, H, W order.
std::shared_ptr<const Layer> flatten_layer();
// torch.nn.Dropout; p in [0, 1). Identity when not training.
std::shared_ptr<const Layer> dropout_layer(float p);

struct BatchNorm2dOptions {
  float eps = 1e-5f;      // added to variances
  float momentum = 0.1f;  // of the running statistics: share of a step's own
};
// torch.nn.BatchNorm2d(features); parameters "weight" (ones) and "bias" (zeros) [C], buffers
// "running_mean" (zeros) and "running_var" (ones) [C]. Input [N, C, H, W] channels_last. A
// micro-batch is normalised by its own statistics; the running ones, by which it is when not
// training, take in those of the whole step at its end (the deferred batch normalisation of
// torchgpipe, Kim et al. 2020): mean and unbiased variance over all its samples.
std::shared_ptr<const Layer> batch_norm2d_layer(std::int64_t features,
                                                const BatchNorm2dOptions& options = {});
// The sum of two tensors of the same spec.
std::shared_ptr<const Layer> add_layer();

}  // namespace stagecoach
