// JSON in files. What others wrote is read in time linear in its bytes, and refused where it is not
// plain; what is written is JSON whatever its strings hold.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

namespace stagecoach {

struct JsonLimits {
  std::int64_t most_bytes = std::int64_t{64} << 20;
  int most_depth = 16;                  // of arrays and objects in each other
  std::size_t most_elements = 1 << 20;  // of one array
};

// Throws Error naming `operation` and `name` (what the text is of) for text that is no JSON, with
// the place; for nesting and arrays beyond the limits; and for a key that an object has twice, as
// readers do not agree which one counts.
nlohmann::json parse_json(const char* operation, const std::string& text, const std::string& name,
                          const JsonLimits& limits = {});
// The same of a file.
nlohmann::json read_json(const char* operation, const std::filesystem::path& file,
                         const JsonLimits& limits = {});

// With line breaks and so many blanks, or in one line for -1. Bytes in strings that are no UTF-8,
// as in names of files, become U+FFFD.
std::string json_text(const nlohmann::json& value, int indent = -1);
std::string json_text(const nlohmann::ordered_json& value, int indent = -1);
// To a file, as in core/file.h, and a line feed.
void write_json(const std::filesystem::path& file, const nlohmann::json& value, int indent = 2);

// As text for an error, cut where it is long.
std::string shortened(const nlohmann::json& value);

}  // namespace stagecoach
