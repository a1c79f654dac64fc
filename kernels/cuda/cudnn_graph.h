// cuDNN's graph API: its descriptors, owned, and the graphs of one convolution.
// https://docs.nvidia.com/deeplearning/cudnn/backend/latest/api/cudnn-graph-library.html
#pragma once

#include <array>
#include <span>
#include <vector>

#include "kernels/cuda/conv2d_problem.h"
#include "kernels/cuda/cudnn_api.h"

namespace stagecoach::cuda {

// Owns one backend descriptor. Every call throws Error when cuDNN refuses it.
class CudnnDescriptor {
 public:
  explicit CudnnDescriptor(cudnnBackendDescriptorType_t type);
  ~CudnnDescriptor();
  CudnnDescriptor(CudnnDescriptor&& other) noexcept;
  CudnnDescriptor& operator=(CudnnDescriptor&& other) noexcept;

  void set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, const void* values,
           std::int64_t count = 1);
  void set(cudnnBackendAttributeName_t name, std::int64_t value);
  void set(cudnnBackendAttributeName_t name, std::span<const std::int64_t> values);
  void set(cudnnBackendAttributeName_t name, const CudnnDescriptor& value);
  void set(cudnnBackendAttributeName_t name, std::span<const CudnnDescriptor> values);

  // Checks the attributes and makes them final.
  void finalize();
  // The same; false when cuDNN cannot do it, which is its answer for a configuration that it does
  // not support.
  bool try_finalize();

  std::int64_t get_int64(cudnnBackendAttributeName_t name) const;
  // All values of an attribute whose elements are of the enumeration or integer T.
  template <typename T>
  std::vector<T> get_all(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type) const {
    std::vector<T> values(static_cast<std::size_t>(count(name, type)));
    values.resize(static_cast<std::size_t>(
        get(name, type, static_cast<std::int64_t>(values.size()), values.data())));
    return values;
  }
  // All values of an attribute that holds descriptors of `type`.
  std::vector<CudnnDescriptor> get_descriptors(cudnnBackendAttributeName_t name,
                                               cudnnBackendDescriptorType_t type) const;

  cudnnBackendDescriptor_t raw() const { return raw_; }

 private:
  // How many values there are, and the first `capacity` of them; returns how many it wrote.
  std::int64_t count(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type) const;
  std::int64_t get(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                   std::int64_t capacity, void* values) const;

  cudnnBackendDescriptor_t raw_ = nullptr;
};

// The names of tensors in the graphs below: what a variant pack binds memory to.
enum class ConvTensor : std::int64_t { kX = 1, kW = 2, kY = 3, kBias = 4 };

constexpr std::int64_t kConvAlignment = 16;  // of their memory, in bytes

// Binds memory to the names of a graph's tensors, one pointer for each.
CudnnDescriptor cudnn_variant_pack(std::span<const std::int64_t> names,
                                   std::span<void* const> pointers, void* workspace);

// The operation graph of `problem`: for the gradients, kX, kW and kY name dx or x, dw or w, and dy.
// fp32 sums.
CudnnDescriptor convolution_graph(const ConvProblem& problem, cudnnHandle_t handle);

}  // namespace stagecoach::cuda
