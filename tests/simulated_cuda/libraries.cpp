// cuDNN's and cuBLASLt's part of the backend, simulated by the CPU's operations in fp32:
// convolutions and matrix products as tasks of the simulated stream. BF16 operands are widened
// before and rounded after.
#include <cstring>
#include <utility>
#include <vector>

#include "core/bfloat16.h"
#include "core/cuda/runtime.h"
#include "core/error.h"
#include "kernels/cpu/conv2d.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cuda/conv2d_library.h"
#include "kernels/cuda/matrix_product.h"
#include "tests/simulated_cuda/products.h"
#include "tests/simulated_cuda/tasks.h"

namespace stagecoach::cuda {
namespace {

// What a library keeps with a context.
struct Handle {
  explicit Handle(const Context& context) {
    if (simulated::library_bytes > 0) memory = Buffer(simulated::library_bytes, context.device());
  }
  Buffer memory;
};
struct ConvolutionLibrary : Handle {
  using Handle::Handle;
};
struct ProductLibrary : Handle {
  using Handle::Handle;
};

const void* readable(const Tensor& tensor) {
  return simulated::readable(tensor.data, tensor.bytes());
}

// A tensor's elements as floats, and back. AlexNet has millions: the type is asked for once.
std::vector<float> widened(const Tensor& tensor) {
  const std::int64_t size = tensor.elements();
  if (tensor.spec.dtype != DType::kBF16) {
    const auto* elements = static_cast<const float*>(readable(tensor));
    return {elements, elements + size};
  }
  std::vector<float> values(static_cast<std::size_t>(size));
  const auto* elements = static_cast<const BFloat16*>(readable(tensor));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(elements[i]);
  return values;
}

// A tensor's elements as floats for as long as this lives: where they are or, of BF16, in memory
// that the thread uses again. Pages of new memory would take longer than products of few rows.
class Floats {
 public:
  explicit Floats(const Tensor& tensor) : data_(static_cast<const float*>(readable(tensor))) {
    if (tensor.spec.dtype != DType::kBF16) return;
    if (!kept().empty()) {
      memory_ = std::move(kept().back());
      kept().pop_back();
    }
    const auto size = static_cast<std::size_t>(tensor.elements());
    if (memory_.size() < size) memory_.resize(size);
    const auto* elements = static_cast<const BFloat16*>(readable(tensor));
    for (std::size_t i = 0; i < size; ++i) memory_[i] = static_cast<float>(elements[i]);
    data_ = memory_.data();
  }
  ~Floats() {
    if (!memory_.empty()) kept().push_back(std::move(memory_));
  }
  Floats(const Floats&) = delete;
  Floats& operator=(const Floats&) = delete;

  const float* data() const { return data_; }

 private:
  static std::vector<std::vector<float>>& kept() {
    thread_local std::vector<std::vector<float>> memories;
    return memories;
  }

  const float* data_;
  std::vector<float> memory_;
};

template <typename T>
void narrow(T* elements, const std::vector<float>& values, Activation activation) {
  const bool cut = activation == Activation::kRelu;
  for (std::size_t i = 0; i < values.size(); ++i) {
    elements[i] = T(cut && values[i] <= 0.0f ? 0.0f : values[i]);
  }
}

void narrow(const Tensor& tensor, const std::vector<float>& values, Activation activation) {
  void* elements = simulated::writable(tensor.data, tensor.bytes());
  if (tensor.spec.dtype == DType::kBF16) {
    narrow(static_cast<BFloat16*>(elements), values, activation);
  } else {
    narrow(static_cast<float*>(elements), values, activation);
  }
}

void enqueue(Context& context, std::function<void()> task) {
  use(context.device());
  STAGECOACH_CUDA_CHECK(simulated::enqueue(native_stream(context), std::move(task)));
}

cpu::Conv2dShape shape_of(const ConvProblem& problem) {
  return {.images = problem.n,
          .in_h = problem.h,
          .in_w = problem.w,
          .channels = problem.c,
          .outputs = problem.o,
          .kernel_h = problem.kh,
          .kernel_w = problem.kw,
          .out_h = problem.out_h(),
          .out_w = problem.out_w(),
          .options = {problem.stride_h, problem.stride_w, problem.padding_h, problem.padding_w}};
}

// The operands as tensors of the problem's dtype.
struct ConvTensors {
  ConvTensors(const ConvProblem& p, const ConvOperands& operands, Device device)
      : x{operands.x, channels_last(p.n, p.c, p.h, p.w, p.dtype()), device},
        w{operands.w, channels_last(p.o, p.c, p.kh, p.kw, p.dtype()), device},
        y{operands.y, channels_last(p.n, p.o, p.out_h(), p.out_w(), p.dtype()), device},
        bias{operands.bias, row_major({p.o}, p.dtype()), device} {}
  Tensor x, w, y, bias;
};

// The form of the weight that an algorithm reads.
template <typename Algorithm>
std::vector<float> form_of(const Algorithm& algorithm, ThreadPool& pool,
                           const cpu::Conv2dShape& shape, const Tensor& weight) {
  std::vector<float> form(static_cast<std::size_t>(algorithm.form_floats(shape)));
  algorithm.make_form(pool, shape, form.data(), widened(weight).data());
  return form;
}

void compute(const ConvProblem& problem, const ConvTensors& tensors) {
  const auto& [x, w, y, bias] = tensors;
  const cpu::Conv2dShape shape = shape_of(problem);
  const bool forward = problem.kind == ConvKind::kForward || problem.kind == ConvKind::kForwardRelu;
  const Tensor& result = forward ? y : problem.kind == ConvKind::kBackwardInput ? x : w;
  std::vector<float> values(static_cast<std::size_t>(result.elements()));
  ThreadPool pool(1);
  constexpr Convolution kWanted = Convolution::kDirect;
  const Buffer workspace(cpu::conv2d_workspace_bytes(shape, kWanted, 1));
  if (forward) {
    const cpu::Conv2dForward& algorithm = cpu::choose_conv2d_forward(shape, kWanted);
    algorithm.run(pool, workspace.data(), shape, values.data(), widened(x).data(),
                  form_of(algorithm, pool, shape, w).data(), widened(bias).data(),
                  Activation::kNone);
  } else if (problem.kind == ConvKind::kBackwardInput) {
    const cpu::Conv2dBackwardInput& algorithm = cpu::choose_conv2d_backward_input(shape, kWanted);
    algorithm.run(pool, workspace.data(), shape, values.data(), widened(y).data(),
                  form_of(algorithm, pool, shape, w).data());
  } else {
    std::vector<float> unused(static_cast<std::size_t>(problem.o));
    cpu::choose_conv2d_backward_weight(shape, kWanted, false)
        .run(pool, workspace.data(), shape, values.data(), unused.data(), widened(y).data(),
             widened(x).data(), GradientMode::kOverwrite);
  }
  narrow(result, values,
         problem.kind == ConvKind::kForwardRelu ? Activation::kRelu : Activation::kNone);
}

constexpr std::int64_t kWorkspaceBytes = 1000;

}  // namespace

std::int64_t library_workspace_bytes(const ConvProblem&, const Target&) {
  return kWorkspaceBytes;
}

void open_convolutions(Context& context) {
  context.extension<ConvolutionLibrary>();
}

void run_convolution(Context& context, const ConvProblem& problem, const ConvOperands& operands) {
  const ConvTensors tensors(problem, operands, context.device());
  enqueue(context, [=] {
    // As the library may: what another part of the workspace holds must survive.
    std::memset(simulated::writable(operands.workspace, kWorkspaceBytes), 0xff, kWorkspaceBytes);
    compute(problem, tensors);
  });
}

namespace {

// As the words of matrix_product.h say, in fp32. What is column-major there is a row-major matrix
// transposed, so the factors change places: D^T = op(B)^T op(A)^T.
void multiply(const MatrixProduct& p, const Tensor& a, const Tensor& b, const Tensor& d,
              const Tensor& bias) {
  const auto transposed = [](bool is) { return is ? cpu::Transpose::kYes : cpu::Transpose::kNo; };
  const Floats factor_a(a), factor_b(b);
  std::vector<float> widened_result;
  if (d.spec.dtype == DType::kBF16) widened_result = widened(d);
  float* const result = d.spec.dtype == DType::kBF16
                            ? widened_result.data()
                            : static_cast<float*>(simulated::writable(d.data, d.bytes()));
  cpu::sgemm(transposed(p.transpose_b), transposed(p.transpose_a), p.n, p.m, p.k,
             {factor_b.data(), p.ldb()}, {factor_a.data(), p.lda()},
             p.accumulate ? cpu::SumFrom::kOutput : cpu::SumFrom::kZero, {result, p.ldd()});
  if (p.epilogue == Epilogue::kBias || p.epilogue == Epilogue::kBiasRelu) {
    const std::vector<float> added = widened(bias);
    for (std::int64_t i = 0; i < d.elements(); ++i) result[i] += added[i % p.m];
  }
  const bool cut = p.epilogue == Epilogue::kBiasRelu;
  for (std::int64_t i = 0; cut && i < d.elements(); ++i) {
    if (result[i] <= 0.0f) result[i] = 0.0f;
  }
  if (d.spec.dtype == DType::kBF16) narrow(d, widened_result, Activation::kNone);
  if (p.epilogue != Epilogue::kBiasGradient) return;
  std::vector<float> sums(static_cast<std::size_t>(p.n));
  for (std::int64_t l = 0; l < p.k; ++l) {
    for (std::int64_t j = 0; j < p.n; ++j) {
      sums[j] += factor_b.data()[p.transpose_b ? l * p.ldb() + j : j * p.ldb() + l];
    }
  }
  narrow(bias, sums, Activation::kNone);
}

}  // namespace

void open_products(Context& context) {
  context.extension<ProductLibrary>();
}

bool run_product(Context& context, const MatrixProduct& product, const ProductOperands& operands) {
  if (simulated::refuses_product && simulated::refuses_product(product)) return false;
  const auto matrix = [&](const void* data, std::int64_t elements, DType dtype) {
    return Tensor{const_cast<void*>(data), row_major({elements}, dtype), context.device()};
  };
  const Tensor a = matrix(operands.a, product.m * product.k, product.operands);
  const Tensor b = matrix(operands.b, product.k * product.n, product.operands);
  const Tensor d = matrix(operands.d, product.m * product.n, product.result);
  const bool gradient = product.epilogue == Epilogue::kBiasGradient;
  const Tensor bias = matrix(operands.bias, gradient ? product.n : product.m, product.result);
  enqueue(context, [=] {
    // As the library may: what lies behind its workspace must survive.
    auto* workspace =
        static_cast<std::byte*>(simulated::writable(operands.workspace, kProductWorkspaceBytes));
    workspace[0] = workspace[kProductWorkspaceBytes - 1] = std::byte{0xFF};
    multiply(product, a, b, d, bias);
  });
  return true;
}

}  // namespace stagecoach::cuda
