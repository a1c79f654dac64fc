#include "core/json_file.h"

#include <unordered_set>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/file.h"
#include "core/input_file.h"

namespace stagecoach {
namespace {

using nlohmann::json;

// Builds the value from the parser's events. The library's own parser with a callback walks over
// all that an object has for each value in it: 23 s for the header of a file of two megabytes.
class Builder : public nlohmann::json_sax<json> {
 public:
  Builder(const char* operation, const std::string& name, const JsonLimits& limits)
      : operation_(operation), name_(name), limits_(limits) {}

  json take() { return std::move(root_); }

  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(number_integer_t value) override { return add(value); }
  bool number_unsigned(number_unsigned_t value) override { return add(value); }
  bool number_float(number_float_t value, const string_t&) override { return add(value); }
  bool string(string_t& value) override { return add(std::move(value)); }
  bool binary(binary_t& value) override { return add(std::move(value)); }

  bool start_object(std::size_t) override { return open(json::object()); }
  bool start_array(std::size_t) override { return open(json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(string_t& value) override {
    Level& level = levels_.back();
    STAGECOACH_CHECK(level.keys.insert(value).second, operation_,
                     fmt::format("every name once in '{}'", name_),
                     fmt::format("'{}' twice", value.substr(0, 200)));
    level.key = std::move(value);
    return true;
  }

  bool parse_error(std::size_t, const std::string&, const json::exception& error) override {
    throw Error(operation_, fmt::format("JSON in '{}'", name_), error.what());
  }

 private:
  struct Level {
    json* value;
    std::string key;  // of the object's next value
    std::unordered_set<std::string> keys;
  };

  json* place(json value) {
    if (levels_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    Level& level = levels_.back();
    if (level.value->is_object()) return &((*level.value)[level.key] = std::move(value));
    STAGECOACH_CHECK(
        level.value->size() < limits_.most_elements, operation_,
        fmt::format("at most {} elements in an array of '{}'", limits_.most_elements, name_),
        "more");
    level.value->push_back(std::move(value));
    return &level.value->back();
  }
  bool add(json value) {
    place(std::move(value));
    return true;
  }
  bool open(json value) {
    STAGECOACH_CHECK(static_cast<int>(levels_.size()) < limits_.most_depth, operation_,
                     fmt::format("at most {} levels of JSON in '{}'", limits_.most_depth, name_),
                     "JSON that is nested too deeply");
    levels_.push_back({place(std::move(value)), "", {}});
    return true;
  }
  bool close() {
    levels_.pop_back();
    return true;
  }

  const char* operation_;
  const std::string& name_;
  const JsonLimits limits_;
  json root_;
  std::vector<Level> levels_;  // what is open
};

}  // namespace

json parse_json(const char* operation, const std::string& text, const std::string& name,
                const JsonLimits& limits) {
  STAGECOACH_CHECK(static_cast<std::int64_t>(text.size()) <= limits.most_bytes, operation,
                   fmt::format("at most {} bytes in '{}'", limits.most_bytes, name),
                   fmt::format("{}", text.size()));
  Builder builder(operation, name, limits);
  json::sax_parse(text, &builder);
  return builder.take();
}

json read_json(const char* operation, const std::filesystem::path& file, const JsonLimits& limits) {
  return parse_json(operation, read_text(operation, file, limits.most_bytes), file.string(),
                    limits);
}

std::string json_text(const json& value, int indent) {
  return value.dump(indent, ' ', false, json::error_handler_t::replace);
}

std::string json_text(const nlohmann::ordered_json& value, int indent) {
  return value.dump(indent, ' ', false, json::error_handler_t::replace);
}

void write_json(const std::filesystem::path& file, const json& value, int indent) {
  write_file(file, [&](std::ostream& out) { out << json_text(value, indent) << '\n'; });
}

std::string shortened(const json& value) {
  const std::string text = json_text(value);
  return text.size() <= 200 ? text : text.substr(0, 200) + "...";
}

}  // namespace stagecoach
