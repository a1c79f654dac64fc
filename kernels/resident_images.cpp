#include "kernels/resident_images.h"

#include <vector>

#include "core/copy.h"
#include "core/error.h"
#include "kernels/backend.h"
#include "kernels/cpu/resize_filter.h"

namespace stagecoach {
namespace {

void check_on_gpu(const char* operation, const Context& context) {
  STAGECOACH_CHECK(context.device().type != DeviceType::kCpu, operation, "a context on a GPU",
                   context.device().to_string());
}

// `data` as a tensor of the host.
template <typename T>
Tensor host_tensor(const T* data, const Shape& shape) {
  return {const_cast<T*>(data), row_major(shape, DTypeOf<T>::value), Device{}};
}

std::vector<std::int32_t> windows_of(const cpu::ResizeFilter& filter) {
  std::vector<std::int32_t> windows;
  for (std::size_t i = 0; i < filter.begin.size(); ++i) {
    windows.push_back(filter.begin[i]);
    windows.push_back(filter.end[i]);
  }
  return windows;
}

}  // namespace

ResidentImages::ResidentImages(Context& context, std::int64_t count, std::int64_t side,
                               const std::uint8_t* images, const std::uint8_t* labels,
                               const ImageTransform& transform)
    : transform_((check_on_gpu("ResidentImages", context), transform)),
      pixels_(row_major({count, 3, side, side}, DType::kU8), context.device()),
      labels_(row_major({count}, DType::kU8), context.device()),
      windows_(row_major({transform.resize, 2}, DType::kI32), context.device()),
      weights_(row_major({transform.resize, cpu::make_resize_filter(side, transform.resize).widest},
                         DType::kI32),
               context.device()),
      values_(row_major({3, 256}), context.device()) {
  const cpu::ResizeFilter filter = cpu::make_resize_filter(side, transform.resize);
  const std::vector<std::int32_t> windows = windows_of(filter);
  const std::vector<float> values = cpu::normalised_values(transform);
  Stream& stream = context.stream();
  copy(stream, pixels_.tensor, host_tensor(images, pixels_.tensor.shape()));
  copy(stream, labels_.tensor, host_tensor(labels, labels_.tensor.shape()));
  copy(stream, windows_.tensor, host_tensor(windows.data(), windows_.tensor.shape()));
  copy(stream, weights_.tensor, host_tensor(filter.weights.data(), weights_.tensor.shape()));
  copy(stream, values_.tensor, host_tensor(values.data(), values_.tensor.shape()));
  stream.synchronize();
}

std::int64_t ResidentImages::bytes() const {
  return pixels_.buffer.bytes() + labels_.buffer.bytes() + windows_.buffer.bytes() +
         weights_.buffer.bytes() + values_.buffer.bytes();
}

void transform_samples(Context& context, Tensor output, Tensor labels, const ResidentImages& images,
                       Tensor samples) {
  constexpr const char* kName = "transform_samples";
  check_on_gpu(kName, context);
  check_floating(kName, "output", context, output.spec);
  const std::int64_t count = samples.shape().rank() == 2 ? samples.shape()[0] : 0;
  STAGECOACH_CHECK(count > 0, kName, "samples [N, 4], not empty", samples.spec.to_string());
  const std::int64_t crop = images.transform().crop;
  check_tensor(context, kName, "samples", samples, row_major({count, 4}, DType::kI32));
  check_tensor(context, kName, "output", output,
               channels_last(count, 3, crop, crop, output.spec.dtype));
  check_tensor(context, kName, "labels", labels, row_major({count}, DType::kI32));
  backend_of(context).transform_samples(context, output, labels, images, samples);
}

}  // namespace stagecoach
