#include "kernels/cuda/cublaslt_product.h"

#include <algorithm>
#include <bit>
#include <map>
#include <optional>

#include "core/cuda/runtime.h"
#include "core/error.h"

namespace stagecoach::cuda {

cudaDataType_t data_type_of(DType dtype) {
  STAGECOACH_CHECK(is_floating(dtype), "cuBLASLt", "a matrix of F32 or BF16",
                   std::string(name_of(dtype)));
  return dtype == DType::kBF16 ? CUDA_R_16BF : CUDA_R_32F;
}

cublasComputeType_t compute_type_of(const MatrixProduct& product) {
  return product.tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
}

cublasLtEpilogue_t epilogue_of(Epilogue epilogue) {
  switch (epilogue) {
    case Epilogue::kNone:
      return CUBLASLT_EPILOGUE_DEFAULT;
    case Epilogue::kBias:
      return CUBLASLT_EPILOGUE_BIAS;
    case Epilogue::kBiasRelu:
      return CUBLASLT_EPILOGUE_RELU_BIAS;
    case Epilogue::kBiasGradient:
      return CUBLASLT_EPILOGUE_BGRADB;
  }
  return CUBLASLT_EPILOGUE_DEFAULT;
}

// In place, the parts are added in the order in which they are ready. Parts in the type of a bf16
// result would be rounded before they are added.
std::uint32_t reduction_schemes_of(const MatrixProduct& product) {
  return product.deterministic ? CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE
                               : CUBLASLT_REDUCTION_SCHEME_MASK;
}

// No kernel needs more than 16 bytes; another answer for more, which where a stage begins decides,
// could be another kernel with other bits.
std::uint32_t alignment_of(const ProductOperands& operands) {
  std::uintptr_t bits = 16;
  for (const void* address : {operands.a, operands.b, static_cast<const void*>(operands.d),
                              static_cast<const void*>(operands.bias)}) {
    bits |= reinterpret_cast<std::uintptr_t>(address);
  }
  return std::uint32_t{1} << std::countr_zero(bits);
}

ProductDescription::ProductDescription(const MatrixProduct& product)
    : has_bias_(product.epilogue != Epilogue::kNone) {
  cublasLtMatmulDesc_t operation = nullptr;
  STAGECOACH_CUBLASLT_CHECK(
      cublaslt().create_operation(&operation, compute_type_of(product), CUDA_R_32F));
  operation_.reset(operation);
  const auto transposed = [](bool is) { return is ? CUBLAS_OP_T : CUBLAS_OP_N; };
  set(CUBLASLT_MATMUL_DESC_TRANSA, transposed(product.transpose_a));
  set(CUBLASLT_MATMUL_DESC_TRANSB, transposed(product.transpose_b));
  set(CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue_of(product.epilogue));
  // As they lie in memory, before op.
  a_ = make_layout(product.operands, product.lda(), product.transpose_a ? product.m : product.k,
                   product.lda());
  b_ = make_layout(product.operands, product.ldb(), product.transpose_b ? product.k : product.n,
                   product.ldb());
  d_ = make_layout(product.result, product.m, product.n, product.ldd());
}

void ProductDescription::set_bias(void* bias) {
  if (has_bias_) set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
}

ProductDescription::Layout ProductDescription::make_layout(DType dtype, std::int64_t rows,
                                                           std::int64_t columns,
                                                           std::int64_t leading) {
  cublasLtMatrixLayout_t layout = nullptr;
  STAGECOACH_CUBLASLT_CHECK(cublaslt().create_layout(&layout, data_type_of(dtype),
                                                     static_cast<std::uint64_t>(rows),
                                                     static_cast<std::uint64_t>(columns), leading));
  return Layout(layout);
}

template <typename T>
void ProductDescription::set(cublasLtMatmulDescAttributes_t attribute, const T& value) {
  STAGECOACH_CUBLASLT_CHECK(
      cublaslt().set_operation(operation_.get(), attribute, &value, sizeof(value)));
}

namespace {

// What the choice of an algorithm may depend on.
struct Preference {
  explicit Preference(const MatrixProduct& product, std::uint32_t alignment) {
    cublasLtMatmulPreference_t made = nullptr;
    STAGECOACH_CUBLASLT_CHECK(cublaslt().create_preference(&made));
    it.reset(made);
    set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
        static_cast<std::uint64_t>(kProductWorkspaceBytes));
    set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, reduction_schemes_of(product));
    for (const auto matrix :
         {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
          CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES}) {
      set(matrix, alignment);
    }
  }
  template <typename T>
  void set(cublasLtMatmulPreferenceAttributes_t attribute, T value) {
    STAGECOACH_CUBLASLT_CHECK(
        cublaslt().set_preference(it.get(), attribute, &value, sizeof(value)));
  }

  struct Destroy {
    void operator()(cublasLtMatmulPreference_t made) const { cublaslt().destroy_preference(made); }
  };
  std::unique_ptr<cublasLtMatmulPreferenceOpaque_t, Destroy> it;  // also where a set() throws
};

// A context's handle, and the products that it has run.
class CublasLt {
 public:
  struct Plan {
    ProductDescription description;
    std::optional<cublasLtMatmulAlgo_t> algorithm;  // none: the library cannot
  };

  explicit CublasLt(Context& context) {
    use(context.device());
    STAGECOACH_CUBLASLT_CHECK(cublaslt().create(&handle_));
  }
  ~CublasLt() { cublaslt().destroy(handle_); }
  CublasLt(const CublasLt&) = delete;
  CublasLt& operator=(const CublasLt&) = delete;

  cublasLtHandle_t handle() const { return handle_; }

  // With the bias of `operands` set.
  Plan& plan(const MatrixProduct& product, const ProductOperands& operands) {
    const std::uint32_t alignment = alignment_of(operands);
    const auto key = std::pair(product, alignment);
    auto found = plans_.find(key);
    if (found == plans_.end()) {
      Plan plan{ProductDescription(product), {}};
      plan.description.set_bias(operands.bias);  // before the choice, which looks at it
      plan.algorithm = choose(product, plan.description, alignment);
      found = plans_.emplace(key, std::move(plan)).first;
    }
    found->second.description.set_bias(operands.bias);
    return found->second;
  }

 private:
  std::optional<cublasLtMatmulAlgo_t> choose(const MatrixProduct& product,
                                             const ProductDescription& description,
                                             std::uint32_t alignment) const {
    const Preference preference(product, alignment);
    cublasLtMatmulHeuristicResult_t result = {};
    int count = 0;
    const cublasStatus_t status = cublaslt().choose_algorithm(
        handle_, description.operation(), description.a(), description.b(), description.d(),
        description.d(), preference.it.get(), 1, &result, &count);
    // The second is its answer for some products with a single row or column.
    if (status == CUBLAS_STATUS_NOT_SUPPORTED || status == CUBLAS_STATUS_INVALID_VALUE) return {};
    STAGECOACH_CUBLASLT_CHECK(status);
    if (count == 0 || result.state != CUBLAS_STATUS_SUCCESS) return {};
    return result.algo;
  }

  cublasLtHandle_t handle_ = nullptr;
  std::map<std::pair<MatrixProduct, std::uint32_t>, Plan> plans_;
};

}  // namespace

void open_products(Context& context) {
  context.extension<CublasLt>();
}

bool run_product(Context& context, const MatrixProduct& product, const ProductOperands& operands) {
  auto& library = context.extension<CublasLt>();
  CublasLt::Plan& plan = library.plan(product, operands);
  if (!plan.algorithm) return false;
  const ProductDescription& description = plan.description;
  // Read by the call itself, not later: constants also of a captured step.
  const float alpha = 1.0f, beta = product.accumulate ? 1.0f : 0.0f;
  use(context.device());
  const cublasStatus_t status = cublaslt().multiply(
      library.handle(), description.operation(), &alpha, operands.a, description.a(), operands.b,
      description.b(), &beta, operands.d, description.d(), operands.d, description.d(),
      &*plan.algorithm, operands.workspace, static_cast<std::size_t>(kProductWorkspaceBytes),
      native_stream(context));
  if (status == CUBLAS_STATUS_NOT_SUPPORTED) plan.algorithm.reset();  // though it was chosen
  if (!plan.algorithm) return false;
  STAGECOACH_CUBLASLT_CHECK(status);
  return true;
}

}  // namespace stagecoach::cuda
