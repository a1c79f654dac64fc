#include "core/safetensors.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>

#include "core/error.h"
#include "core/file.h"
#include "core/float16.h"
#include "core/input_file.h"
#include "core/json_file.h"

namespace stagecoach {
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors are little-endian");

constexpr const char* kWrite = "safetensors";
constexpr const char* kRead = "safetensors";
constexpr const char* kMetadata = "__metadata__";
constexpr std::int64_t kLengthBytes = 8;
constexpr std::int64_t kMaxHeaderBytes = 100'000'000;  // the limit of the reference implementation
// A tensor has a dtype, a shape and offsets: three levels, and no long lists.
constexpr JsonLimits kHeaderLimits = {
    .most_bytes = kMaxHeaderBytes, .most_depth = 3, .most_elements = 64};
constexpr std::int64_t kBlockBytes = std::int64_t{1} << 20;

// Bits of an element of every dtype that the format has; none for an unknown name.
std::optional<int> bits_of(std::string_view dtype) {
  static const std::map<std::string_view, int> bits = {
      {"BOOL", 8},    {"U8", 8},   {"I8", 8},      {"F8_E5M2", 8}, {"F8_E4M3", 8},
      {"F8_E8M0", 8}, {"F4", 4},   {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"I16", 16},
      {"U16", 16},    {"F16", 16}, {"BF16", 16},   {"I32", 32},    {"U32", 32},
      {"F32", 32},    {"I64", 64}, {"U64", 64},    {"F64", 64},    {"C64", 64}};
  const auto found = bits.find(dtype);
  if (found == bits.end()) return std::nullopt;
  return found->second;
}

std::optional<DType> dtype_from(std::string_view name) {
  for (DType dtype : {DType::kF32, DType::kBF16, DType::kU8, DType::kI32}) {
    if (name_of(dtype) == name) return dtype;
  }
  return std::nullopt;
}

Shape shape_from(const std::vector<std::int64_t>& d) {
  switch (d.size()) {
    case 0:
      return {};
    case 1:
      return {d[0]};
    case 2:
      return {d[0], d[1]};
    case 3:
      return {d[0], d[1], d[2]};
    default:
      return {d[0], d[1], d[2], d[3]};
  }
}

// rows x columns elements of `size` bytes to columns x rows.
template <typename T>
void transpose(std::int64_t rows, std::int64_t columns, void* output, const void* input) {
  T* to = static_cast<T*>(output);
  const T* from = static_cast<const T*>(input);
  for (std::int64_t column = 0; column < columns; ++column) {
    for (std::int64_t row = 0; row < rows; ++row) *to++ = from[row * columns + column];
  }
}

void transpose(std::int64_t size, std::int64_t rows, std::int64_t columns, void* output,
               const void* input) {
  if (size == 4) return transpose<std::uint32_t>(rows, columns, output, input);
  if (size == 2) return transpose<std::uint16_t>(rows, columns, output, input);
  return transpose<std::uint8_t>(rows, columns, output, input);
}

bool is_permuted(const TensorSpec& spec) {
  return spec.format == MemoryFormat::kChannelsLast && spec.shape.rank() == 4 && spec.bytes() > 0;
}

// Calls body(first, count) for pieces of the outermost dimension of about kBlockBytes.
template <typename Body>
void for_blocks(const TensorSpec& spec, const Body& body) {
  const std::int64_t outer = spec.shape[0];
  const std::int64_t step = std::max<std::int64_t>(1, kBlockBytes / (spec.bytes() / outer));
  for (std::int64_t i = 0; i < outer; i += step) body(i, std::min(step, outer - i));
}

void write_tensor(std::ostream& stream, const Tensor& tensor) {
  const char* data = static_cast<const char*>(tensor.data);
  if (!is_permuted(tensor.spec)) {
    stream.write(data, tensor.bytes());
    return;
  }
  const Shape& shape = tensor.shape();
  const std::int64_t size = size_of(tensor.spec.dtype), item = tensor.bytes() / shape[0];
  std::vector<char> block;
  for_blocks(tensor.spec, [&](std::int64_t first, std::int64_t count) {
    block.resize(static_cast<std::size_t>(count * item));
    for (std::int64_t i = 0; i < count; ++i) {
      transpose(size, shape[2] * shape[3], shape[1], &block[i * item], data + (first + i) * item);
    }
    stream.write(block.data(), count * item);
  });
}

void read_tensor(std::istream& stream, const Tensor& tensor) {
  char* data = static_cast<char*>(tensor.data);
  if (!is_permuted(tensor.spec)) {
    stream.read(data, tensor.bytes());
    return;
  }
  const Shape& shape = tensor.shape();
  const std::int64_t size = size_of(tensor.spec.dtype), item = tensor.bytes() / shape[0];
  std::vector<char> block;
  for_blocks(tensor.spec, [&](std::int64_t first, std::int64_t count) {
    block.resize(static_cast<std::size_t>(count * item));
    if (!stream.read(block.data(), count * item)) return;
    for (std::int64_t i = 0; i < count; ++i) {
      transpose(size, shape[1], shape[2] * shape[3], data + (first + i) * item, &block[i * item]);
    }
  });
}

void check_names(const std::filesystem::path& file, const std::vector<NamedTensor>& tensors) {
  std::set<std::string> seen;
  for (const NamedTensor& named : tensors) {
    STAGECOACH_CHECK(named.name != kMetadata && seen.insert(named.name).second, kWrite,
                     fmt::format("tensors of different names, none of them {}", kMetadata),
                     fmt::format("'{}' for '{}'", named.name, file.string()));
    STAGECOACH_CHECK(named.tensor.defined() || named.tensor.bytes() == 0, kWrite,
                     fmt::format("memory of tensor '{}'", named.name), "none");
    STAGECOACH_CHECK(named.tensor.device.type == DeviceType::kCpu, kWrite,
                     fmt::format("tensor '{}' on the cpu", named.name),
                     named.tensor.device.to_string());
  }
}

std::string header_of(const std::vector<NamedTensor>& tensors,
                      const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header[kMetadata] = metadata;
  std::int64_t offset = 0;
  for (const NamedTensor& named : tensors) {
    const TensorSpec& spec = named.tensor.spec;
    nlohmann::ordered_json shape = nlohmann::ordered_json::array();
    for (int i = 0; i < spec.shape.rank(); ++i) shape.push_back(spec.shape[i]);
    nlohmann::ordered_json& entry = header[named.name];
    entry["dtype"] = name_of(spec.dtype);
    entry["shape"] = std::move(shape);
    entry["data_offsets"] = {offset, offset + spec.bytes()};
    offset += spec.bytes();
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  return text;
}

// A list of integers in [0, 2^63); none when `json` is anything else.
std::optional<std::vector<std::int64_t>> integers_from(const nlohmann::json& json) {
  if (!json.is_array()) return std::nullopt;
  std::vector<std::int64_t> values;
  for (const auto& value : json) {
    if (!value.is_number_unsigned() || value.get<std::uint64_t>() > INT64_MAX) return std::nullopt;
    values.push_back(value.get<std::int64_t>());
  }
  return values;
}

// Bytes of the shape's elements; none when they are no whole number of bytes or above 2^63.
std::optional<std::int64_t> bytes_of(const std::vector<std::int64_t>& shape, int bits) {
  std::int64_t total = bits;
  for (std::int64_t dim : shape) {
    if (__builtin_mul_overflow(total, dim, &total)) return std::nullopt;
  }
  if (total % 8 != 0) return std::nullopt;
  return total / 8;
}

StoredTensor parse_entry(const nlohmann::json& value, const std::string& where) {
  STAGECOACH_CHECK(value.is_object(), kRead, fmt::format("an object for {}", where),
                   value.type_name());
  STAGECOACH_CHECK(value.contains("dtype") && value["dtype"].is_string(), kRead,
                   fmt::format("a \"dtype\" for {}", where), shortened(value));
  const auto shape = integers_from(value.value("shape", nlohmann::json()));
  STAGECOACH_CHECK(shape.has_value(), kRead,
                   fmt::format("a \"shape\" of integers >= 0 for {}", where), shortened(value));
  const auto offsets = integers_from(value.value("data_offsets", nlohmann::json()));
  STAGECOACH_CHECK(offsets && offsets->size() == 2 && (*offsets)[0] <= (*offsets)[1], kRead,
                   fmt::format("\"data_offsets\": [begin, end] for {}", where), shortened(value));

  const std::string dtype = value["dtype"];
  const std::optional<int> bits = bits_of(dtype);
  STAGECOACH_CHECK(bits.has_value(), kRead, fmt::format("a dtype of safetensors for {}", where),
                   fmt::format("'{}'", dtype));
  const std::int64_t given = (*offsets)[1] - (*offsets)[0];
  const std::optional<std::int64_t> needed = bytes_of(*shape, *bits);
  STAGECOACH_CHECK(needed == given, kRead,
                   fmt::format("the bytes of {} [{}] for {}{}", dtype, fmt::join(*shape, ", "),
                               where, needed ? fmt::format(", {}", *needed) : ""),
                   fmt::format("{} from its offsets", given));
  return {dtype, *shape, (*offsets)[0], given};
}

std::map<std::string, std::string> parse_metadata(const nlohmann::json& value,
                                                  const std::string& file) {
  STAGECOACH_CHECK(value.is_object(), kRead, fmt::format("an object {} in '{}'", kMetadata, file),
                   value.type_name());
  std::map<std::string, std::string> metadata;
  for (const auto& [key, text] : value.items()) {
    STAGECOACH_CHECK(text.is_string(), kRead, fmt::format("strings in {} of '{}'", kMetadata, file),
                     fmt::format("a {} for '{}'", text.type_name(), key));
    metadata[key] = text;
  }
  return metadata;
}

// The format allows neither gaps nor overlaps: each tensor begins where the one before ends.
void check_offsets(const std::map<std::string, StoredTensor>& entries, std::int64_t data_bytes,
                   const std::string& file) {
  std::vector<std::pair<const std::string*, const StoredTensor*>> order;
  order.reserve(entries.size());
  for (const auto& [name, entry] : entries) order.emplace_back(&name, &entry);
  std::stable_sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
    return std::pair(a.second->offset, a.second->bytes) <
           std::pair(b.second->offset, b.second->bytes);
  });
  std::int64_t end = 0;
  for (const auto& [name, entry] : order) {
    STAGECOACH_CHECK(entry->offset == end, kRead,
                     fmt::format("tensor '{}' of '{}' at offset {}", *name, file, end),
                     fmt::format("{}, which leaves a gap or overlaps", entry->offset));
    end += entry->bytes;  // no overflow: offset + bytes is an integer of the header
    STAGECOACH_CHECK(
        end <= data_bytes, kRead,
        fmt::format("tensor '{}' within the {} bytes of data of '{}'", *name, data_bytes, file),
        fmt::format("an end at {}", end), "the file is cut off");
  }
  STAGECOACH_CHECK(end == data_bytes, kRead, fmt::format("{} bytes of data in '{}'", end, file),
                   fmt::format("{}", data_bytes));
}

// The length and the text of the header.
std::string read_header(std::istream& stream, std::int64_t file_bytes, const std::string& file) {
  std::uint64_t length = 0;
  STAGECOACH_CHECK(stream.read(reinterpret_cast<char*>(&length), kLengthBytes).good(), kRead,
                   fmt::format("at least {} bytes in '{}'", kLengthBytes, file),
                   fmt::format("{}", file_bytes), "is it a safetensors file?");
  const auto most =
      static_cast<std::uint64_t>(std::min(kMaxHeaderBytes, file_bytes - kLengthBytes));
  STAGECOACH_CHECK(length <= most, kRead,
                   fmt::format("a header of at most {} bytes in '{}', which has {} bytes", most,
                               file, file_bytes),
                   fmt::format("{}", length), "is it a safetensors file, and whole?");
  std::string header(length, '\0');
  STAGECOACH_CHECK(stream.read(header.data(), static_cast<std::streamsize>(length)).good(), kRead,
                   fmt::format("to read {} bytes of '{}'", length, file), std::strerror(errno));
  return header;
}

nlohmann::json parse_header(const std::string& text, const std::string& file) {
  try {
    return parse_json(kRead, text, file, kHeaderLimits);
  } catch (const Error& error) {
    throw Error(kRead, fmt::format("a header of a safetensors file in '{}'", file), error.message(),
                "is it a safetensors file?");
  }
}

// To F32, from the two types of 16 bits.
void convert(const Tensor& to, const Tensor& from, bool is_half) {
  const auto* bits = static_cast<const std::uint16_t*>(from.data);
  auto* values = to.as<float>();
  for (std::int64_t i = 0; i < to.elements(); ++i) {
    values[i] = is_half ? float_of_half(bits[i])
                        : std::bit_cast<float>(static_cast<std::uint32_t>(bits[i]) << 16);
  }
}

}  // namespace

void write_safetensors(const std::filesystem::path& file, const std::vector<NamedTensor>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  check_names(file, tensors);
  std::string header;
  try {
    header = header_of(tensors, metadata);
  } catch (const nlohmann::json::exception& error) {
    throw Error(kWrite, fmt::format("names and metadata in UTF-8 for '{}'", file.string()),
                error.what());
  }
  write_file(file, [&](std::ostream& stream) {
    const std::uint64_t length = header.size();
    stream.write(reinterpret_cast<const char*>(&length), kLengthBytes);
    stream.write(header.data(), static_cast<std::streamsize>(header.size()));
    for (const NamedTensor& named : tensors) write_tensor(stream, named.tensor);
  });
}

SafetensorsFile::SafetensorsFile(const std::filesystem::path& file) : file_(file) {
  const std::string name = file.string();
  check_readable(kRead, file);
  stream_.open(file, std::ios::binary | std::ios::ate);
  const auto file_bytes = static_cast<std::int64_t>(stream_.tellg());
  STAGECOACH_CHECK(stream_.seekg(0).good() && file_bytes >= 0, kRead,
                   fmt::format("to read '{}'", name), std::strerror(errno));
  const std::string text = read_header(stream_, file_bytes, name);
  const nlohmann::json header = parse_header(text, name);
  STAGECOACH_CHECK(header.is_object(), kRead,
                   fmt::format("a JSON object in the header of '{}'", name), header.type_name());
  for (const auto& [key, value] : header.items()) {
    if (key == kMetadata) {
      metadata_ = parse_metadata(value, name);
    } else {
      entries_[key] = parse_entry(value, fmt::format("tensor '{}' of '{}'", key, name));
    }
  }
  const std::int64_t data_begin = kLengthBytes + static_cast<std::int64_t>(text.size());
  check_offsets(entries_, file_bytes - data_begin, name);
  for (auto& [key, entry] : entries_) entry.offset += data_begin;
}

std::vector<std::string> SafetensorsFile::names() const {
  std::vector<std::string> names;
  for (const auto& [name, entry] : entries_) names.push_back(name);
  return names;
}

bool SafetensorsFile::has(const std::string& name) const {
  return entries_.contains(name);
}

const StoredTensor& SafetensorsFile::entry(const std::string& name) const {
  const auto found = entries_.find(name);
  STAGECOACH_CHECK(found != entries_.end(), kRead,
                   fmt::format("a tensor '{}' in '{}'", name, file_.string()),
                   fmt::format("{} tensors, not this one", entries_.size()));
  return found->second;
}

TensorSpec SafetensorsFile::spec(const std::string& name) const {
  const StoredTensor& stored = entry(name);
  const std::optional<DType> dtype = dtype_from(stored.dtype);
  STAGECOACH_CHECK(dtype && stored.shape.size() <= Shape::kMaxRank, kRead,
                   fmt::format("tensor '{}' of '{}' to be F32, BF16, U8 or I32 with at most {} "
                               "dimensions",
                               name, file_.string(), Shape::kMaxRank),
                   fmt::format("{} [{}]", stored.dtype, fmt::join(stored.shape, ", ")));
  return {*dtype, shape_from(stored.shape), MemoryFormat::kRowMajor};
}

void SafetensorsFile::check(const std::string& name, const TensorSpec& wanted,
                            const char* hint) const {
  const StoredTensor& stored = entry(name);
  const bool same = stored.dtype == name_of(wanted.dtype),
             converted =
                 wanted.dtype == DType::kF32 && (stored.dtype == "F16" || stored.dtype == "BF16");
  STAGECOACH_CHECK((same || converted) && stored.shape.size() <= Shape::kMaxRank &&
                       shape_from(stored.shape) == wanted.shape,
                   kRead,
                   fmt::format("tensor '{}' of '{}' to be {} {}{}", name, file_.string(),
                               name_of(wanted.dtype), wanted.shape.to_string(),
                               wanted.dtype == DType::kF32 ? ", or F16 or BF16 of that shape" : ""),
                   fmt::format("{} [{}]", stored.dtype, fmt::join(stored.shape, ", ")), hint);
}

void SafetensorsFile::read(const std::string& name, const Tensor& destination) const {
  check(name, destination.spec);
  const StoredTensor& stored = entry(name);
  if (stored.bytes == 0) return;
  STAGECOACH_CHECK(destination.defined() && destination.device.type == DeviceType::kCpu, kRead,
                   fmt::format("memory of the cpu for tensor '{}'", name),
                   destination.defined() ? destination.device.to_string() : "none");
  stream_.clear();
  stream_.seekg(stored.offset);
  if (stored.dtype == name_of(destination.spec.dtype)) {
    read_tensor(stream_, destination);
  } else {
    TensorSpec spec = destination.spec;
    spec.dtype = DType::kBF16;  // as wide as F16
    const OwnedTensor narrow(spec);
    read_tensor(stream_, narrow.tensor);
    convert(destination, narrow.tensor, stored.dtype == "F16");
  }
  STAGECOACH_CHECK(
      stream_.good(), kRead,
      fmt::format("to read {} bytes of '{}' from '{}'", stored.bytes, name, file_.string()),
      "fewer", "was the file changed?");
}

}  // namespace stagecoach
