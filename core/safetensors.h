// safetensors: named tensors in a file (huggingface.co/docs/safetensors/index).
//
// The file is: 8 bytes length of the header (little-endian), the header (JSON, padded with blanks),
// then the tensors' bytes without gaps. Tensors are stored row-major, in logical order.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "core/buffer.h"

namespace stagecoach {

// A named view for writing. Tensors of any memory format are stored row-major.
struct NamedTensor {
  std::string name;
  Tensor tensor;
};

// Writes `tensors` in the given order, with `metadata` (strings); the data begins at a multiple of
// 8 bytes. Written to a temporary file, flushed, renamed. Throws Error naming the file, and for
// names that are given twice or reserved ("__metadata__"). The same input gives the same bytes.
void write_safetensors(const std::filesystem::path& file, const std::vector<NamedTensor>& tensors,
                       const std::map<std::string, std::string>& metadata);

// A tensor as a file's header describes it, of any dtype and rank.
struct StoredTensor {
  std::string dtype;
  std::vector<std::int64_t> shape;
  std::int64_t offset = 0;  // in the file
  std::int64_t bytes = 0;
};

// A safetensors file, checked whole when opened: header size and JSON, dtypes, shapes, offsets that
// cover the file's data without gap or overlap. Throws Error naming the file, the tensor and what
// is wrong. Tensors that this program has no type for (I64, rank 5, ...) may be in the file; only
// asking for one is an error. The file stays open: all tensors are of one file, whatever takes its
// name meanwhile. For one thread at a time.
class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::filesystem::path& file);

  std::vector<std::string> names() const;  // sorted
  bool has(const std::string& name) const;
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  // Spec (row-major) of a tensor; Error when there is none of this name.
  TensorSpec spec(const std::string& name) const;
  // Throws Error, naming both and with `hint`, unless the tensor has this shape and dtype, or can
  // be converted: from F16 or BF16 to F32.
  void check(const std::string& name, const TensorSpec& wanted, const char* hint = "") const;
  // Copies the tensor to `destination`, in either memory format; Error as by check().
  void read(const std::string& name, const Tensor& destination) const;
  // As the header describes it; Error when there is none of this name.
  const StoredTensor& entry(const std::string& name) const;

 private:
  std::filesystem::path file_;
  mutable std::ifstream stream_;
  std::map<std::string, StoredTensor> entries_;
  std::map<std::string, std::string> metadata_;
};

}  // namespace stagecoach
