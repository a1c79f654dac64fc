// Matrix products as cuBLASLt computes them, described without its header: the linear layer makes
// them, one function runs them.
#pragma once

#include <cstdint>

#include "core/context.h"
#include "kernels/activation.h"

namespace stagecoach::cuda {

// What a product does beside multiplying.
enum class Epilogue : std::uint8_t {
  kNone,
  kBias,          // adds bias[i] to row i of D
  kBiasRelu,      // and applies the ReLU
  kBiasGradient,  // writes bias[j] = sum over k of column j of op(B)
};

// D [m, n] = op(A) [m, k] op(B) [k, n], or added to D. Column-major, as BLAS counts: a row-major
// tensor [R, C] is the matrix [C, R] with leading dimension C. op transposes or does nothing. The
// bias has D's type.
struct MatrixProduct {
  std::int64_t m = 0, n = 0, k = 0;
  bool transpose_a = false, transpose_b = false;
  DType operands = DType::kF32;  // of A and B: F32 or BF16
  DType result = DType::kF32;    // of D
  bool tf32 = false;             // round F32 operands to TF32; sums are always in fp32
  bool accumulate = false;       // D += instead of D =
  bool deterministic = true;     // the same bits every time
  Epilogue epilogue = Epilogue::kNone;

  std::int64_t lda() const { return transpose_a ? k : m; }
  std::int64_t ldb() const { return transpose_b ? n : k; }
  std::int64_t ldd() const { return m; }

  auto operator<=>(const MatrixProduct&) const = default;
};

// The three products of a linear layer with input [rows, inputs] and weight [outputs, inputs], both
// of `dtype` and row-major.
struct LinearSizes {
  std::int64_t rows = 0, inputs = 0, outputs = 0;
};

inline MatrixProduct product_of(const Target& target, DType operands, DType result) {
  MatrixProduct product;
  product.operands = operands;
  product.result = result;
  product.tf32 = operands == DType::kF32 && target.precision == Precision::kTf32;
  product.deterministic = target.deterministic;
  return product;
}

// output^T [outputs, rows] = weight [outputs, inputs] input^T [inputs, rows]; A weight, B input.
inline MatrixProduct forward_product(const LinearSizes& sizes, DType dtype, Activation activation,
                                     const Target& target) {
  MatrixProduct product = product_of(target, dtype, dtype);
  product.m = sizes.outputs;
  product.n = sizes.rows;
  product.k = sizes.inputs;
  product.transpose_a = true;
  product.epilogue = activation == Activation::kRelu ? Epilogue::kBiasRelu : Epilogue::kBias;
  return product;
}

// input_grad^T [inputs, rows] = weight^T [inputs, outputs] output_grad^T [outputs, rows]; A weight,
// B output_grad.
inline MatrixProduct backward_input_product(const LinearSizes& sizes, DType dtype,
                                            const Target& target) {
  MatrixProduct product = product_of(target, dtype, dtype);
  product.m = sizes.inputs;
  product.n = sizes.rows;
  product.k = sizes.outputs;
  return product;
}

// weight_grad^T [inputs, outputs] = input^T [inputs, rows] output_grad [rows, outputs], in F32; A
// input, B output_grad. With the gradient of the bias.
inline MatrixProduct backward_weight_product(const LinearSizes& sizes, DType dtype, bool accumulate,
                                             const Target& target) {
  MatrixProduct product = product_of(target, dtype, DType::kF32);
  product.m = sizes.inputs;
  product.n = sizes.outputs;
  product.k = sizes.rows;
  product.transpose_b = true;
  product.accumulate = accumulate;
  product.epilogue = Epilogue::kBiasGradient;
  return product;
}

// Memory on the context's GPU.
struct ProductOperands {
  const void* a = nullptr;
  const void* b = nullptr;
  void* d = nullptr;
  void* bias = nullptr;       // read or written, as the epilogue says
  void* workspace = nullptr;  // kProductWorkspaceBytes
};

// What NVIDIA recommends for an H100.
inline constexpr std::int64_t kProductWorkspaceBytes = std::int64_t{32} << 20;

// Makes what the library keeps with a context; run_product() does, too.
void open_products(Context& context);

// Enqueues the product on the context's stream. The algorithm is the library's first choice, looked
// up once per context and product. False, and nothing is enqueued, when the library has none.
// Throws Error when it is missing or fails.
[[nodiscard]] bool run_product(Context& context, const MatrixProduct& product,
                               const ProductOperands& operands);

}  // namespace stagecoach::cuda
