// A MatrixProduct in cuBLASLt's descriptors. They can be made without a GPU.
#pragma once

#include <memory>

#include "kernels/cuda/cublaslt_api.h"
#include "kernels/cuda/matrix_product.h"

namespace stagecoach::cuda {

cudaDataType_t data_type_of(DType dtype);
cublasComputeType_t compute_type_of(const MatrixProduct& product);
cublasLtEpilogue_t epilogue_of(Epilogue epilogue);
// Of sums that are cut into parts: which ways to add the parts are allowed.
std::uint32_t reduction_schemes_of(const MatrixProduct& product);

// The largest power of two, at most Buffer::kAlignment, that divides all addresses: which
// algorithms can run depends on it.
std::uint32_t alignment_of(const ProductOperands& operands);

// Owns the descriptors of a product; every call throws Error when cuBLASLt refuses it.
class ProductDescription {
 public:
  explicit ProductDescription(const MatrixProduct& product);

  // What the bias is read from or its gradient written to; kept by the descriptor.
  void set_bias(void* bias);

  cublasLtMatmulDesc_t operation() const { return operation_.get(); }
  cublasLtMatrixLayout_t a() const { return a_.get(); }
  cublasLtMatrixLayout_t b() const { return b_.get(); }
  cublasLtMatrixLayout_t d() const { return d_.get(); }

 private:
  // Where a descriptor ends, there is nobody left to tell of an error.
  struct Destroy {
    void operator()(cublasLtMatmulDesc_t it) const { cublaslt().destroy_operation(it); }
    void operator()(cublasLtMatrixLayout_t it) const { cublaslt().destroy_layout(it); }
  };
  using Layout = std::unique_ptr<cublasLtMatrixLayoutOpaque_t, Destroy>;

  static Layout make_layout(DType dtype, std::int64_t rows, std::int64_t columns,
                            std::int64_t leading);
  template <typename T>
  void set(cublasLtMatmulDescAttributes_t attribute, const T& value);

  std::unique_ptr<cublasLtMatmulDescOpaque_t, Destroy> operation_;
  Layout a_, b_, d_;
  bool has_bias_;
};

}  // namespace stagecoach::cuda
