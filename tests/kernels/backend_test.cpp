// What the public operations ask of a backend: tensors of its device only, and a third kind of
// device that nobody knows but this file.
#include "kernels/backend.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>

#include "core/copy.h"
#include "kernels/adaptive_avg_pool2d.h"
#include "kernels/add.h"
#include "kernels/batch_norm2d.h"
#include "kernels/cast.h"
#include "kernels/mean_squared_error.h"
#include "kernels/permute.h"
#include "kernels/relu.h"
#include "kernels/softmax_cross_entropy.h"
#include "kernels/target.h"
#include "kernels/uniform.h"
#include "tests/kernels/checks.h"

namespace stagecoach {
namespace {

using testing::expect_error;

// An operation with its tensors, on a device.
struct Call {
  const char* name;
  std::vector<TensorSpec> tensors;
  std::function<void(Context&, const std::vector<Tensor>&)> run;
};

std::vector<Call> calls() {
  using T = const std::vector<Tensor>&;
  const TensorSpec x = channels_last(2, 3, 4, 4), w = channels_last(5, 3, 3, 3);
  const TensorSpec y = channels_last(2, 5, 2, 2), pooled = channels_last(2, 3, 2, 2);
  TensorSpec index = pooled;
  index.dtype = DType::kU8;
  const TensorSpec b = row_major({5}), rows = row_major({2, 3}), matrix = row_major({5, 3});
  const TensorSpec out = row_major({2, 5}), flat = row_major({7});
  const TensorSpec c3 = row_major({3}), parts = row_major({4, 3});
  const TensorSpec per_row = row_major({2}), labels = row_major({2}, DType::kI32);
  const auto write = GradientMode::kOverwrite;
  return {
      {"relu_forward", {x, x}, [](Context& c, T t) { relu_forward(c, t[0], t[1]); }},
      {"relu_backward", {x, x, x}, [](Context& c, T t) { relu_backward(c, t[0], t[1], t[2]); }},
      {"max_pool2d_forward",
       {pooled, index, x},
       [](Context& c, T t) { max_pool2d_forward(c, t[0], t[1], t[2], {}); }},
      {"max_pool2d_backward",
       {x, pooled, index},
       [](Context& c, T t) { max_pool2d_backward(c, t[0], t[1], t[2], {}); }},
      {"adaptive_avg_pool2d_forward",
       {pooled, x},
       [](Context& c, T t) { adaptive_avg_pool2d_forward(c, t[0], t[1]); }},
      {"adaptive_avg_pool2d_backward",
       {x, pooled},
       [](Context& c, T t) { adaptive_avg_pool2d_backward(c, t[0], t[1]); }},
      {"conv2d_forward",
       {y, x, w, b},
       [](Context& c, T t) { conv2d_forward(c, t[0], t[1], t[2], t[3], {}); }},
      {"conv2d_backward_input",
       {x, y, w},
       [](Context& c, T t) { conv2d_backward_input(c, t[0], t[1], t[2], {}); }},
      {"conv2d_backward_weight",
       {w, b, y, x},
       [=](Context& c, T t) { conv2d_backward_weight(c, t[0], t[1], t[2], t[3], {}, write); }},
      {"linear_forward",
       {out, rows, matrix, b},
       [](Context& c, T t) { linear_forward(c, t[0], t[1], t[2], t[3]); }},
      {"linear_backward_input",
       {rows, out, matrix},
       [](Context& c, T t) { linear_backward_input(c, t[0], t[1], t[2]); }},
      {"linear_backward_weight",
       {matrix, b, out, rows},
       [=](Context& c, T t) { linear_backward_weight(c, t[0], t[1], t[2], t[3], write); }},
      {"dropout", {rows, rows}, [](Context& c, T t) { dropout_forward(c, t[0], t[1], {}); }},
      {"softmax_cross_entropy",
       {per_row, labels, rows, rows, labels},
       [](Context& c, T t) { softmax_cross_entropy(c, t[0], t[1], t[2], t[3], t[4], 1.0f); }},
      {"mean_squared_error",
       {per_row, rows, rows, rows},
       [](Context& c, T t) { mean_squared_error(c, t[0], t[1], t[2], t[3], 1.0f); }},
      {"add", {x, x, x}, [](Context& c, T t) { add(c, t[0], t[1], t[2]); }},
      {"batch_norm2d_forward",
       {x, x, c3, c3, c3, c3},
       [](Context& c, T t) { batch_norm2d_forward(c, t[0], t[1], t[2], t[3], t[4], t[5], 1e-5f); }},
      {"batch_norm2d_update",
       {c3, c3, parts, parts},
       [](Context& c, T t) { batch_norm2d_update(c, t[0], t[1], t[2], t[3], 9, 0.1f); }},
      {"sgd_step", {flat, flat, flat}, [](Context& c, T t) { sgd_step(c, t[0], t[1], t[2], {}); }},
      {"adam_step",
       {flat, flat, flat, flat},
       [](Context& c, T t) { adam_step(c, t[0], t[1], t[2], t[3], {}); }},
      {"permute_format",
       {x, row_major({2, 3, 4, 4})},
       [](Context& c, T t) { permute_format(c, t[0], t[1]); }},
      {"fill_uniform", {x}, [](Context& c, T t) { fill_uniform(c, t[0], 1.0f, {}); }},
      {"cast", {x, x}, [](Context& c, T t) { cast(c, t[0], t[1]); }},
  };
}

// What the operation's front calls itself: one name for all of batch norm.
const char* family_of(const char* name) {
  return std::string_view(name).starts_with("batch_norm2d") ? "batch_norm2d" : name;
}

std::vector<Tensor> make_tensors(const Call& call, std::deque<OwnedTensor>& owned, Device device) {
  std::vector<Tensor> tensors;
  for (const TensorSpec& spec : call.tensors) {
    tensors.push_back(owned.emplace_back(spec, device).tensor);
  }
  return tensors;
}

TEST(BackendTest, ATensorOfAnotherDeviceIsRefused) {
  Context context(1);
  for (const Call& call : calls()) {
    std::deque<OwnedTensor> owned;
    const std::vector<Tensor> tensors = make_tensors(call, owned, {});
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      SCOPED_TRACE(fmt::format("{}, tensor {}", call.name, i));
      std::vector<Tensor> elsewhere = tensors;
      elsewhere[i].device = {DeviceType::kCuda, 1};
      expect_error([&] { call.run(context, elsewhere); },
                   {family_of(call.name), " on cpu, got ", " on cuda:1"});
    }
  }
  const OwnedTensor output(channels_last(1, 3, 224, 224));
  const OwnedTensor images(row_major({1, 3, 8, 8}, DType::kU8));
  Tensor elsewhere = images.tensor;
  elsewhere.device = {DeviceType::kCuda, 1};
  const ImageCrop crop;
  expect_error(
      [&] {
        transform_images(context, output.tensor, elsewhere, {&crop, 1}, {});
      },
      {"transform_images", " on cpu, got ", " on cuda:1"});
}

// A kind of device that is neither a CPU nor a GPU: host memory, and a stream that runs each task
// at once.
constexpr auto kThird = static_cast<DeviceType>(2);
constexpr Device kThirdDevice{kThird, 0};

class ThirdStream final : public Stream {
 public:
  Device device() const override { return kThirdDevice; }
  void enqueue(std::function<void()> task) override { task(); }
  void record(Event&, EventUse) override {}
  void wait(const Event&) override {}
  void synchronize() override {}
  void reset() override {}
};

class ThirdDevice final : public DeviceBackend {
 public:
  int device_count(std::string*) const override { return 1; }
  std::unique_ptr<Stream> create_stream(Device) const override {
    return std::make_unique<ThirdStream>();
  }
  void* allocate(std::int64_t bytes, Device) const override {
    return std::calloc(static_cast<std::size_t>(bytes) + 1, 1);
  }
  void deallocate(void* memory, std::int64_t, Device) const noexcept override { std::free(memory); }
  void copy(Stream& stream, const Tensor& to, const Tensor& from) const override {
    stream.enqueue(
        [&] { std::memcpy(to.data, from.data, static_cast<std::size_t>(from.bytes())); });
  }
};

class ThirdBackend final : public Backend {
 public:
  void check_target(const Target&) const override {}
  void relu_forward(Context& context, Tensor output, Tensor input) const override {
    context.stream().enqueue([=] {
      for (std::int64_t i = 0; i < input.elements(); ++i) {
        output.as<float>()[i] = std::max(input.as<float>()[i], 0.0f);
      }
    });
  }
};

const ThirdDevice kDevice;
const ThirdBackend kBackend;

class ThirdBackendTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    register_device_backend(kThird, kDevice);
    register_backend(kThird, kBackend);
  }
};

TEST_F(ThirdBackendTest, RunsWhatItHas) {
  const Target target(1, kThirdDevice);
  check_target(target);
  Context context(target);
  const OwnedTensor host(row_major({3}));
  const float values[] = {-1.0f, 0.5f, 2.0f};
  std::memcpy(host.tensor.data, values, sizeof values);
  const OwnedTensor device(host.tensor.spec, kThirdDevice);
  copy(context.stream(), device.tensor, host.tensor);
  relu_forward(context, device.tensor, device.tensor);
  const OwnedTensor result = to_host(context.stream(), device.tensor);
  EXPECT_EQ(result.tensor.as<float>()[0], 0.0f);
  EXPECT_EQ(result.tensor.as<float>()[1], 0.5f);
  EXPECT_EQ(result.tensor.as<float>()[2], 2.0f);
  expect_error([&] { relu_forward(context, device.tensor, host.tensor); },
               {"relu_forward: expected input F32 [3] on device:0, got F32 [3] on cpu"});
}

TEST_F(ThirdBackendTest, RefusesTheOthersByName) {
  const Target target(1, kThirdDevice);
  Context context(target);
  for (const Call& call : calls()) {
    if (std::string(call.name) == "relu_forward") continue;
    SCOPED_TRACE(call.name);
    std::deque<OwnedTensor> owned;
    const std::vector<Tensor> tensors = make_tensors(call, owned, kThirdDevice);
    expect_error([&] { call.run(context, tensors); },
                 {call.name, ": expected a backend with this operation, got one without"});
  }
  expect_error(
      [&] {
        conv2d_workspace_bytes(channels_last(1, 1, 2, 2), channels_last(1, 1, 1, 1), {}, target);
      },
      {"conv2d_workspace_bytes: expected a backend with this operation"});
  expect_error([] { Buffer::pinned(1, kThirdDevice); }, {"Buffer::pinned"});
  EXPECT_FALSE(Graph::can_capture(kThirdDevice));
}

TEST(BackendTest, AKindWithoutABackendSaysSo) {
  const Device missing{static_cast<DeviceType>(5), 0};
  const Target target(1, missing);
  expect_error([&] { Context context(target); },
               {"Stream: expected a program with a backend for the device", "--device cpu"});
  expect_error([&] { Buffer buffer(1, missing); }, {"Buffer: expected a program with a backend"});
  expect_error([&] { check_target(target); }, {"check_target: expected a program with a backend"});
  std::string why;
  EXPECT_EQ(device_backend(missing).device_count(&why), 0);
  EXPECT_EQ(why, "none");
  expect_error([] { backend_of(static_cast<DeviceType>(kDeviceTypes)); }, {"a kind of device"});
}

// Where the program has no CUDA, which is said by what it is asked for.
TEST(BackendTest, WithoutCudaItSaysWhatIsMissing) {
  if (!device_backend(DeviceType::kCuda).runtime_versions().empty()) GTEST_SKIP() << "has CUDA";
  const Target gpu(1, {DeviceType::kCuda, 0});
  expect_error(
      [&] {
        linear_workspace_bytes(row_major({1, 1}), row_major({1, 1}), gpu);
      },
      {"linear_workspace_bytes: expected a build with CUDA (the preset cuda), got this "
       "build has no CUDA; use --device cpu"});
  expect_error([&] { Context context(gpu); }, {"Stream: expected a build with CUDA"});
}

}  // namespace
}  // namespace stagecoach
