#include "core/safetensors.h"

#include "tests/fuzz/fuzz.h"

using namespace stagecoach;

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const fuzz::MemoryFile file(data, size);
  return fuzz::read_or_error([&] {
    const SafetensorsFile tensors(file.path());
    for (const std::string& name : tensors.names()) {
      fuzz::read_or_error([&] {
        const TensorSpec spec = tensors.spec(name);
        if (spec.bytes() > static_cast<std::int64_t>(size)) std::abort();  // it cannot be in there
        const OwnedTensor tensor(spec);
        tensors.read(name, tensor.tensor);
      });
    }
  });
}
