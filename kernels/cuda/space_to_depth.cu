#include "kernels/cuda/image_items.h"
#include "kernels/cuda/operations.h"

namespace stagecoach::cuda {
namespace {

struct Blocks {
  int channels;  // of the images
  int block, padding;
};

// Where the channels of one pixel of blocks lie in the image, one after another.
class BlockWalk {
 public:
  // Begins at `place`, of the blocks.
  __device__ BlockWalk(const Blocks& blocks, const ImagePlace& place)
      : blocks_(blocks),
        top_(place.y * blocks.block - blocks.padding),
        left_(place.x * blocks.block - blocks.padding),
        dy_(place.channel / blocks.channels / blocks.block),
        dx_(place.channel / blocks.channels % blocks.block),
        channel_(place.channel % blocks.channels) {}

  __device__ int y() const { return top_ + dy_; }
  __device__ int x() const { return left_ + dx_; }
  __device__ int channel() const { return channel_; }
  // Whether an image of this size has such a pixel.
  __device__ bool inside(std::int64_t height, std::int64_t width) const {
    return dy_ < blocks_.block && y() >= 0 && y() < height && x() >= 0 && x() < width;
  }

  __device__ void next() {
    if (++channel_ < blocks_.channels) return;
    channel_ = 0;
    if (++dx_ < blocks_.block) return;
    dx_ = 0;
    ++dy_;
  }

 private:
  Blocks blocks_;
  int top_, left_, dy_, dx_, channel_;
};

// Of the tensor that has the pixels one by one.
struct Pixels {
  std::int64_t height, width, channels;
};

template <typename To, typename From, int kSize>
__global__ void __launch_bounds__(kThreads)
    space_to_depth_kernel(ImageItems items, Pixels pixels, Blocks blocks, To* output,
                          const From* input) {
  for (std::uint32_t i = first_item(); i < items.count(); i += item_stride()) {
    const ImagePlace place = items.at(i);
    BlockWalk walk(blocks, place);
    Pack<To, kSize> pack;
    for (int k = 0; k < kSize; ++k, walk.next()) {
      const bool inside = walk.inside(pixels.height, pixels.width);
      const std::int64_t pixel = (place.image * pixels.height + walk.y()) * pixels.width + walk.x();
      const std::int64_t from = pixel * pixels.channels + walk.channel();
      pack.values[k] = To(inside ? static_cast<float>(input[from]) : 0.0f);
    }
    store(output + std::int64_t{i} * kSize, pack);
  }
}

__global__ void __launch_bounds__(kThreads)
    depth_to_space_kernel(ImageItems items, Pixels blocks, std::int64_t channels, int block,
                          float* output, const float* input, bool accumulate) {
  for (std::uint32_t i = first_item(); i < items.count(); i += item_stride()) {
    const ImagePlace place = items.at(i);
    const int tap = place.y % block * block + place.x % block;
    const std::int64_t pixel =
        (place.image * blocks.height + place.y / block) * blocks.width + place.x / block;
    const float value = input[pixel * blocks.channels + tap * channels + place.channel];
    output[i] = accumulate ? output[i] + value : value;
  }
}

Pixels pixels_of(const TensorSpec& spec) {
  return {spec.shape[2], spec.shape[3], spec.shape[1]};
}

}  // namespace

void space_to_depth(Context& context, Tensor output, Tensor input, const SpaceToDepth& options) {
  const Blocks blocks{.channels = static_cast<int>(input.shape()[1]),
                      .block = static_cast<int>(options.block),
                      .padding = static_cast<int>(options.padding)};
  const auto run = [&]<typename To, typename From>(To, From) {
    const auto start = [&](const ImageItems& items, auto kernel) {
      launch(context, items.count(), kernel, items, pixels_of(input.spec), blocks, output.as<To>(),
             input.as<From>());
    };
    if (packable<To>(output.shape()[1], output.as<To>())) {
      start({"space_to_depth", output.spec, kPack<To>}, space_to_depth_kernel<To, From, kPack<To>>);
    } else {
      start({"space_to_depth", output.spec, 1}, space_to_depth_kernel<To, From, 1>);
    }
  };
  with_element_type(output.spec.dtype, [&]<typename To>(To to) {
    with_element_type(input.spec.dtype, [&]<typename From>(From from) { run(to, from); });
  });
}

void depth_to_space(Context& context, Tensor output, Tensor input, const SpaceToDepth& options,
                    GradientMode mode) {
  const ImageItems items("depth_to_space", output.spec, 1);
  launch(context, items.count(), depth_to_space_kernel, items, pixels_of(input.spec),
         output.shape()[1], static_cast<int>(options.block), output.as<float>(), input.as<float>(),
         mode == GradientMode::kAccumulate);
}

}  // namespace stagecoach::cuda
