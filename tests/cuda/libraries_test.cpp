#include "core/cuda/libraries.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "kernels/backend.h"

namespace stagecoach::cuda {
namespace {

// `info` must not find a library that training then refuses.
TEST(Libraries, AreOfOneNameForInfoAndTraining) {
  const auto found = backend_of(DeviceType::kCuda).library_versions();
  DynamicLibrary (*const open[])() = {open_cudnn, open_cublaslt, open_nccl};
  ASSERT_EQ(found.size(), std::size(open));
  for (std::size_t i = 0; i < found.size(); ++i) {
    SCOPED_TRACE(found[i].first);
    try {
      open[i]();
      EXPECT_EQ(found[i].second.find("not found"), std::string::npos) << found[i].second;
    } catch (const Error& error) {
      EXPECT_EQ(found[i].second, "not found: " + error.message());
    }
  }
}

}  // namespace
}  // namespace stagecoach::cuda
