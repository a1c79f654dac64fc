#include "data/sha256.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <vector>

#include "core/error.h"
#include "core/input_file.h"

namespace stagecoach {

struct Sha256::State {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  ~State() { EVP_MD_CTX_free(context); }
};

Sha256::Sha256() : state_(std::make_unique<State>()) {
  STAGECOACH_CHECK(
      state_->context != nullptr && EVP_DigestInit_ex(state_->context, EVP_sha256(), nullptr) == 1,
      "SHA-256", "an OpenSSL that has it", "one without");
}
Sha256::~Sha256() = default;

void Sha256::add(const void* data, std::size_t bytes) {
  EVP_DigestUpdate(state_->context, data, bytes);
}

std::string Sha256::finish() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> sum;
  unsigned int bytes = 0;
  EVP_DigestFinal_ex(state_->context, sum.data(), &bytes);
  std::string digits;
  for (unsigned int i = 0; i < bytes; ++i) digits += fmt::format("{:02x}", sum[i]);
  return digits;
}

std::string sha256_of(std::string_view text) {
  Sha256 sum;
  sum.add(text.data(), text.size());
  return sum.finish();
}

std::string sha256_of_file(const std::filesystem::path& file) {
  check_readable("SHA-256", file);
  std::ifstream stream(file, std::ios::binary);
  std::vector<char> block(std::size_t{1} << 20);
  Sha256 sum;
  while (stream) {
    stream.read(block.data(), static_cast<std::streamsize>(block.size()));
    sum.add(block.data(), static_cast<std::size_t>(stream.gcount()));
  }
  STAGECOACH_CHECK(stream.eof(), "SHA-256", fmt::format("to read '{}'", file.string()),
                   std::strerror(errno));
  return sum.finish();
}

}  // namespace stagecoach
