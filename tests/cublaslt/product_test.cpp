// cuBLASLt's descriptors of the linear layer's products: made by the real library, which needs no
// GPU for them.
#include "kernels/cuda/cublaslt_product.h"

#include <gtest/gtest.h>

#include "core/error.h"

namespace stagecoach::cuda {
namespace {

const LinearSizes kSizes{.rows = 5, .inputs = 30, .outputs = 7};

Target target_of(Precision precision, bool deterministic = true) {
  Target target(1, {DeviceType::kCuda, 0});
  target.precision = precision;
  target.deterministic = deterministic;
  return target;
}

template <typename T>
T read(const ProductDescription& description, cublasLtMatmulDescAttributes_t attribute) {
  T value{};
  std::size_t written = 0;
  STAGECOACH_CUBLASLT_CHECK(cublaslt().get_operation(description.operation(), attribute, &value,
                                                     sizeof(value), &written));
  EXPECT_EQ(written, sizeof(value));
  return value;
}

template <typename T>
T read(cublasLtMatrixLayout_t layout, cublasLtMatrixLayoutAttribute_t attribute) {
  T value{};
  std::size_t written = 0;
  STAGECOACH_CUBLASLT_CHECK(
      cublaslt().get_layout(layout, attribute, &value, sizeof(value), &written));
  EXPECT_EQ(written, sizeof(value));
  return value;
}

// Rows, columns, leading dimension, type.
using Layout = std::tuple<std::uint64_t, std::uint64_t, std::int64_t, int>;
Layout layout_of(cublasLtMatrixLayout_t layout) {
  return {read<std::uint64_t>(layout, CUBLASLT_MATRIX_LAYOUT_ROWS),
          read<std::uint64_t>(layout, CUBLASLT_MATRIX_LAYOUT_COLS),
          read<std::int64_t>(layout, CUBLASLT_MATRIX_LAYOUT_LD),
          read<std::int32_t>(layout, CUBLASLT_MATRIX_LAYOUT_TYPE)};
}

// Operation of A, operation of B, epilogue, compute type, type of alpha and beta.
using Operation = std::tuple<int, int, int, int, int>;
Operation operation_of(const ProductDescription& description) {
  return {read<std::int32_t>(description, CUBLASLT_MATMUL_DESC_TRANSA),
          read<std::int32_t>(description, CUBLASLT_MATMUL_DESC_TRANSB),
          static_cast<int>(read<std::uint32_t>(description, CUBLASLT_MATMUL_DESC_EPILOGUE)),
          read<std::int32_t>(description, CUBLASLT_MATMUL_DESC_COMPUTE_TYPE),
          read<std::int32_t>(description, CUBLASLT_MATMUL_DESC_SCALE_TYPE)};
}

TEST(CublasLtProduct, ForwardInBf16) {
  const ProductDescription description(
      forward_product(kSizes, DType::kBF16, Activation::kRelu, target_of(Precision::kBf16)));
  EXPECT_EQ(operation_of(description),
            Operation(CUBLAS_OP_T, CUBLAS_OP_N, CUBLASLT_EPILOGUE_RELU_BIAS, CUBLAS_COMPUTE_32F,
                      CUDA_R_32F));
  EXPECT_EQ(layout_of(description.a()), Layout(30, 7, 30, CUDA_R_16BF));  // the weight
  EXPECT_EQ(layout_of(description.b()), Layout(30, 5, 30, CUDA_R_16BF));  // the input
  EXPECT_EQ(layout_of(description.d()), Layout(7, 5, 7, CUDA_R_16BF));
}

TEST(CublasLtProduct, GradientOfTheInputInTf32) {
  const ProductDescription description(
      backward_input_product(kSizes, DType::kF32, target_of(Precision::kTf32)));
  EXPECT_EQ(operation_of(description),
            Operation(CUBLAS_OP_N, CUBLAS_OP_N, CUBLASLT_EPILOGUE_DEFAULT,
                      CUBLAS_COMPUTE_32F_FAST_TF32, CUDA_R_32F));
  EXPECT_EQ(layout_of(description.a()), Layout(30, 7, 30, CUDA_R_32F));  // the weight
  EXPECT_EQ(layout_of(description.b()), Layout(7, 5, 7, CUDA_R_32F));    // the output's gradient
  EXPECT_EQ(layout_of(description.d()), Layout(30, 5, 30, CUDA_R_32F));
}

TEST(CublasLtProduct, GradientOfTheWeightIsF32) {
  const ProductDescription description(
      backward_weight_product(kSizes, DType::kBF16, true, target_of(Precision::kBf16)));
  EXPECT_EQ(operation_of(description), Operation(CUBLAS_OP_N, CUBLAS_OP_T, CUBLASLT_EPILOGUE_BGRADB,
                                                 CUBLAS_COMPUTE_32F, CUDA_R_32F));
  EXPECT_EQ(layout_of(description.a()), Layout(30, 5, 30, CUDA_R_16BF));  // the input
  EXPECT_EQ(layout_of(description.b()), Layout(7, 5, 7, CUDA_R_16BF));    // the output's gradient
  EXPECT_EQ(layout_of(description.d()), Layout(30, 7, 30, CUDA_R_32F));
}

TEST(CublasLtProduct, StrictFp32DoesNotUseTf32) {
  const ProductDescription description(
      forward_product(kSizes, DType::kF32, Activation::kNone, target_of(Precision::kFp32)));
  EXPECT_EQ(operation_of(description), Operation(CUBLAS_OP_T, CUBLAS_OP_N, CUBLASLT_EPILOGUE_BIAS,
                                                 CUBLAS_COMPUTE_32F, CUDA_R_32F));
}

TEST(CublasLtProduct, KeepsTheAddressOfTheBias) {
  ProductDescription with(
      forward_product(kSizes, DType::kF32, Activation::kNone, target_of(Precision::kFp32)));
  int there = 0;
  with.set_bias(&there);
  EXPECT_EQ(read<void*>(with, CUBLASLT_MATMUL_DESC_BIAS_POINTER), &there);
  ProductDescription without(
      backward_input_product(kSizes, DType::kF32, target_of(Precision::kFp32)));
  without.set_bias(&there);
  EXPECT_EQ(read<void*>(without, CUBLASLT_MATMUL_DESC_BIAS_POINTER), nullptr);
}

TEST(CublasLtProduct, PartsOfSumsAreAddedInOneOrderUnlessAllowedOtherwise) {
  const auto schemes = [](bool deterministic) {
    return reduction_schemes_of(
        backward_input_product(kSizes, DType::kBF16, target_of(Precision::kBf16, deterministic)));
  };
  EXPECT_EQ(schemes(true), CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE);
  EXPECT_EQ(schemes(false), CUBLASLT_REDUCTION_SCHEME_MASK);
}

TEST(CublasLtProduct, AlignmentIsThatOfTheWorstAddress) {
  const auto at = [](std::uintptr_t address) { return reinterpret_cast<void*>(address); };
  EXPECT_EQ(alignment_of({.a = at(4096), .b = at(256), .d = at(512)}), 16u);
  EXPECT_EQ(alignment_of({.a = at(4096), .b = at(256), .d = at(512), .bias = at(264)}), 8u);
  EXPECT_EQ(alignment_of({.a = at(4096), .b = at(260), .d = at(512)}), 4u);
}

TEST(CublasLtErrors, NameCallSymbolAndPlace) {
  try {
    STAGECOACH_CUBLASLT_CHECK(CUBLAS_STATUS_ALLOC_FAILED);
    FAIL() << "an error passed for success";
  } catch (const Error& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("cuBLASLt: expected CUBLAS_STATUS_ALLOC_FAILED to succeed, got "
                        "CUBLAS_STATUS_ALLOC_FAILED: "),
              std::string::npos)
        << text;
    EXPECT_NE(text.find("product_test.cpp:"), std::string::npos) << text;
  }
}

TEST(CublasLtErrors, OtherTypesThanF32AndBf16AreRefused) {
  EXPECT_THROW(data_type_of(DType::kU8), Error);
}

}  // namespace
}  // namespace stagecoach::cuda
