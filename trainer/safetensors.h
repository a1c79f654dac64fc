// safetensors: named tensors in a file (huggingface.co/docs/safetensors/index).
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "core/buffer.h"

namespace stagecoach {

// A named view for writing. Tensors of any format are stored row-major, in logical order.
struct NamedTensor {
  std::string name;
  Tensor tensor;
};

// Writes `tensors` in the given order, 8-byte aligned data, with `metadata` (strings). Written to a
// temporary file, flushed, renamed. Throws Error naming the file. The same input gives the same
// bytes.
void write_safetensors(const std::filesystem::path& file, const std::vector<NamedTensor>& tensors,
                       const std::map<std::string, std::string>& metadata);

// A safetensors file, checked whole when opened: header size and JSON, dtype, shapes, offsets inside
// the file and without overlap. Throws Error naming the file, the tensor and what is wrong.
class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::filesystem::path& file);

  std::vector<std::string> names() const;
  bool has(const std::string& name) const;
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  // Spec (row-major) of a tensor; Error when there is none of this name.
  TensorSpec spec(const std::string& name) const;
  // Copies the tensor to `destination`, which has the same dtype and shape in either memory format;
  // Error naming both specs otherwise.
  void read(const std::string& name, const Tensor& destination) const;

 private:
  struct Entry {
    TensorSpec spec;
    std::int64_t offset = 0;  // in the file
  };
  const Entry& entry(const std::string& name) const;

  std::filesystem::path file_;
  std::map<std::string, Entry> entries_;
  std::map<std::string, std::string> metadata_;
};

}  // namespace stagecoach
