#include "core/safetensors.h"

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "core/error.h"
#include "tests/scratch_folder.h"

namespace stagecoach {
namespace {

namespace fs = std::filesystem;

class SafetensorsTest : public ::testing::Test {
 protected:
  fs::path file() const { return folder_ / "weights.safetensors"; }

  std::string content() const {
    std::ifstream stream(file(), std::ios::binary);
    std::ostringstream text;
    text << stream.rdbuf();
    return text.str();
  }
  void put(const std::string& bytes) const {
    std::ofstream(file(), std::ios::binary | std::ios::trunc) << bytes;
  }
  // A file of this header and `data` bytes of data.
  void put_header(const std::string& header, std::size_t data) const {
    std::string bytes(8, '\0');
    const std::uint64_t length = header.size();
    std::memcpy(bytes.data(), &length, 8);
    put(bytes + header + std::string(data, 'x'));
  }
  // What opening the file says; fails the test when it does not throw Error.
  std::string opening_error() const {
    try {
      SafetensorsFile opened(file());
    } catch (const Error& error) {
      EXPECT_NE(error.message().find("weights.safetensors"), std::string::npos) << error.what();
      return error.message();
    }
    ADD_FAILURE() << "the file was accepted";
    return "";
  }

  const testing::ScratchFolder scratch_;
  const fs::path& folder_ = scratch_.path();
};

// Element (n, c, h, w) is its row-major index.
OwnedTensor counted(const TensorSpec& spec) {
  OwnedTensor result(spec);
  float* data = result.tensor.as<float>();
  const Shape& s = spec.shape;
  if (spec.format == MemoryFormat::kRowMajor) {
    for (std::int64_t i = 0; i < spec.elements(); ++i) data[i] = static_cast<float>(i);
    return result;
  }
  float* out = data;
  for (std::int64_t n = 0; n < s[0]; ++n) {
    for (std::int64_t hw = 0; hw < s[2] * s[3]; ++hw) {
      for (std::int64_t c = 0; c < s[1]; ++c) {
        *out++ = static_cast<float>((n * s[1] + c) * s[2] * s[3] + hw);
      }
    }
  }
  return result;
}

bool same_bytes(const Tensor& a, const Tensor& b) {
  return a.spec == b.spec && std::memcmp(a.data, b.data, static_cast<std::size_t>(a.bytes())) == 0;
}

TEST_F(SafetensorsTest, BytesAreAsTheFormatSays) {
  OwnedTensor bias = counted(row_major({2}));
  OwnedTensor bytes(row_major({3}, DType::kU8));
  for (int i = 0; i < 3; ++i) bytes.tensor.as<std::uint8_t>()[i] = static_cast<std::uint8_t>(7 + i);
  write_safetensors(file(), {{"z.bias", bias.tensor}, {"a", bytes.tensor}}, {{"step", "12"}});

  const std::string all = content();
  std::uint64_t length = 0;
  std::memcpy(&length, all.data(), 8);
  EXPECT_EQ(length % 8, 0u);
  std::string header = all.substr(8, length);
  header.erase(header.find_last_not_of(' ') + 1);
  EXPECT_EQ(header, R"({"__metadata__":{"step":"12"},)"
                    R"("z.bias":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                    R"("a":{"dtype":"U8","shape":[3],"data_offsets":[8,11]}})");
  const std::string data = all.substr(8 + length);
  EXPECT_EQ(data, std::string("\0\0\0\0\0\0\x80\x3f\x07\x08\x09", 11));
}

TEST_F(SafetensorsTest, SameInputSameBytes) {
  OwnedTensor tensor = counted(row_major({3, 5}));
  write_safetensors(file(), {{"w", tensor.tensor}}, {{"b", "1"}, {"a", "2"}});
  const std::string first = content();
  write_safetensors(file(), {{"w", tensor.tensor}}, {{"a", "2"}, {"b", "1"}});
  EXPECT_EQ(content(), first);
}

TEST_F(SafetensorsTest, ChannelsLastIsStoredInLogicalOrder) {
  OwnedTensor weights = counted(channels_last(5, 3, 2, 4));
  write_safetensors(file(), {{"w", weights.tensor}}, {});
  const SafetensorsFile opened(file());
  EXPECT_EQ(opened.spec("w"), row_major({5, 3, 2, 4}));

  OwnedTensor plain(row_major({5, 3, 2, 4}));
  opened.read("w", plain.tensor);
  EXPECT_TRUE(same_bytes(plain.tensor, counted(row_major({5, 3, 2, 4})).tensor));
  OwnedTensor permuted(channels_last(5, 3, 2, 4));
  opened.read("w", permuted.tensor);
  EXPECT_TRUE(same_bytes(permuted.tensor, weights.tensor));
}

TEST_F(SafetensorsTest, TensorsLargerThanABlockKeepTheirOrder) {
  // 3 x 512 KiB + a bit: two outer indices fit in a block, the third is alone.
  const TensorSpec spec = channels_last(3, 64, 33, 61);
  OwnedTensor large = counted(spec);
  OwnedTensor after = counted(row_major({1}));
  write_safetensors(file(), {{"large", large.tensor}, {"after", after.tensor}}, {});
  const SafetensorsFile opened(file());
  OwnedTensor back(spec);
  opened.read("large", back.tensor);
  EXPECT_TRUE(same_bytes(back.tensor, large.tensor));
  OwnedTensor plain(row_major({3, 64, 33, 61}));
  opened.read("large", plain.tensor);
  EXPECT_EQ(plain.tensor.as<float>()[spec.elements() - 1], static_cast<float>(spec.elements() - 1));
}

TEST_F(SafetensorsTest, EveryDTypeAndRankComesBack) {
  OwnedTensor scalar = counted(row_major({}));
  scalar.tensor.as<float>()[0] = 2.5f;
  OwnedTensor empty(row_major({0, 4}));
  OwnedTensor bytes({DType::kU8, {2, 3, 1, 2}, MemoryFormat::kChannelsLast});
  for (int i = 0; i < 12; ++i) bytes.tensor.as<std::uint8_t>()[i] = static_cast<std::uint8_t>(i);
  OwnedTensor labels(row_major({2}, DType::kI32));
  labels.tensor.as<std::int32_t>()[1] = -9;
  OwnedTensor half({DType::kBF16, {1, 2, 1, 2}, MemoryFormat::kChannelsLast});
  static_cast<std::uint16_t*>(half.tensor.data)[1] = 0x3F80;
  const std::vector<NamedTensor> tensors = {{"scalar", scalar.tensor},
                                            {"empty", empty.tensor},
                                            {"bytes", bytes.tensor},
                                            {"labels", labels.tensor},
                                            {"half", half.tensor}};
  write_safetensors(file(), tensors, {});
  const SafetensorsFile opened(file());
  EXPECT_EQ(opened.names(),
            (std::vector<std::string>{"bytes", "empty", "half", "labels", "scalar"}));
  for (const NamedTensor& named : tensors) {
    OwnedTensor back(named.tensor.spec);
    opened.read(named.name, back.tensor);
    EXPECT_TRUE(same_bytes(back.tensor, named.tensor)) << named.name;
  }
  OwnedTensor plain({DType::kBF16, {1, 2, 1, 2}, MemoryFormat::kRowMajor});
  opened.read("half", plain.tensor);
  EXPECT_EQ(static_cast<std::uint16_t*>(plain.tensor.data)[2], 0x3F80);
}

TEST_F(SafetensorsTest, MetadataComesBack) {
  write_safetensors(file(), {}, {{"format", "pt"}, {"seed", "1138 \"quoted\" \xc3\xa9"}});
  const SafetensorsFile opened(file());
  EXPECT_TRUE(opened.names().empty());
  EXPECT_EQ(opened.metadata().at("seed"), "1138 \"quoted\" \xc3\xa9");
  EXPECT_EQ(opened.metadata().at("format"), "pt");
}

TEST_F(SafetensorsTest, NamesMustDifferAndBeValid) {
  OwnedTensor t = counted(row_major({1}));
  EXPECT_THROW(write_safetensors(file(), {{"w", t.tensor}, {"w", t.tensor}}, {}), Error);
  EXPECT_THROW(write_safetensors(file(), {{"__metadata__", t.tensor}}, {}), Error);
  EXPECT_THROW(write_safetensors(file(), {{"\xff", t.tensor}}, {}), Error);
  EXPECT_THROW(write_safetensors(file(), {{"w", Tensor{nullptr, t.tensor.spec, {}}}}, {}), Error);
  EXPECT_FALSE(fs::exists(file()));
  EXPECT_THROW(write_safetensors(folder_ / "missing" / "f", {{"w", t.tensor}}, {}), Error);
}

TEST_F(SafetensorsTest, ReadNamesBothSpecsWhenTheyDiffer) {
  OwnedTensor t = counted(row_major({2, 3}));
  write_safetensors(file(), {{"w", t.tensor}}, {});
  const SafetensorsFile opened(file());
  EXPECT_TRUE(opened.has("w"));
  EXPECT_FALSE(opened.has("v"));
  EXPECT_THROW(opened.spec("v"), Error);
  for (const TensorSpec& wrong : {row_major({3, 2}), row_major({2, 3}, DType::kI32)}) {
    OwnedTensor other(wrong);
    try {
      opened.read("w", other.tensor);
      FAIL() << "accepted " << wrong.to_string();
    } catch (const Error& error) {
      EXPECT_NE(error.message().find("'w'"), std::string::npos);
      EXPECT_NE(error.message().find(wrong.to_string()), std::string::npos) << error.what();
      EXPECT_NE(error.message().find("F32 [2, 3]"), std::string::npos) << error.what();
    }
  }
}

TEST_F(SafetensorsTest, ForeignTensorsAreErrorsOnlyWhenAskedFor) {
  put_header(R"({"half":{"dtype":"F16","shape":[3],"data_offsets":[0,6]},)"
             R"("wide":{"dtype":"F64","shape":[],"data_offsets":[6,14]},)"
             R"("deep":{"dtype":"U8","shape":[1,1,1,1,2],"data_offsets":[14,16]},)"
             R"("fine":{"dtype":"U8","shape":[2],"data_offsets":[16,18]}})",
             18);
  const SafetensorsFile opened(file());
  EXPECT_EQ(opened.names().size(), 4u);
  OwnedTensor fine(row_major({2}, DType::kU8));
  opened.read("fine", fine.tensor);
  EXPECT_EQ(fine.tensor.as<std::uint8_t>()[0], 'x');
  for (const char* name : {"half", "wide", "deep"}) EXPECT_THROW(opened.spec(name), Error) << name;
  try {
    opened.read("half", fine.tensor);
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(error.message().find("F16 [3]"), std::string::npos) << error.what();
  }
}

TEST_F(SafetensorsTest, FilesThatAreNone) {
  EXPECT_NE(opening_error().find("no such file"), std::string::npos);
  put("");
  opening_error();
  put("1234567");
  opening_error();
  put(std::string(8, '\xff'));  // a header of 2^64 - 1 bytes
  opening_error();
  put(std::string("\0\0\0\0\0\0\0\x40", 8) + "{}");  // of 2^62
  opening_error();
  put(std::string("\x03\0\0\0\0\0\0\0", 8) + "{}");  // one byte more than there is
  opening_error();
  fs::remove(file());
  fs::create_directory(file());
  opening_error();
}

TEST_F(SafetensorsTest, HostileHeaders) {
  const auto tensor = [](const std::string& fields) { return R"({"w":{)" + fields + "}}"; };
  for (const std::string& header : {
           std::string(),
           std::string("{"),
           std::string("[]"),
           std::string("7"),
           std::string("{\"w\xff\":1}"),
           std::string(R"({"w":1})"),
           std::string(R"({"__metadata__":{"a":1}})"),
           std::string(R"({"__metadata__":"a"})"),
           std::string(4'000'000, '['),
           std::string(R"({"w":)") + std::string(1'000'000, '{'),
           tensor(R"("dtype":"F32","shape":[1])"),
           tensor(R"("dtype":"F32","data_offsets":[0,4])"),
           tensor(R"("shape":[1],"data_offsets":[0,4])"),
           tensor(R"("dtype":"Q7","shape":[1],"data_offsets":[0,4])"),
           tensor(R"("dtype":7,"shape":[1],"data_offsets":[0,4])"),
           tensor(R"("dtype":"F32","shape":[2],"data_offsets":[0,4])"),
           tensor(R"("dtype":"F32","shape":[-1],"data_offsets":[0,4])"),
           tensor(R"("dtype":"F32","shape":[1.0],"data_offsets":[0,4])"),
           tensor(R"("dtype":"F32","shape":1,"data_offsets":[0,4])"),
           tensor(R"("dtype":"F32","shape":[1],"data_offsets":[0,4,8])"),
           tensor(R"("dtype":"F32","shape":[1],"data_offsets":[4,0])"),
           tensor(R"("dtype":"F32","shape":[1],"data_offsets":[-4,0])"),
           tensor(R"("dtype":"F32","shape":[1],"data_offsets":[0,18446744073709551615])"),
           tensor(R"("dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0])"),
           tensor(R"("dtype":"F4","shape":[3],"data_offsets":[0,1])"),
           // inside the header's own rules, but not of this file's four bytes
           tensor(R"("dtype":"F32","shape":[2],"data_offsets":[0,8])"),
           tensor(R"("dtype":"F32","shape":[1],"data_offsets":[4,8])"),
           tensor(R"("dtype":"U8","shape":[3],"data_offsets":[0,3])"),
           tensor(R"("dtype":"F32","shape":[0],"data_offsets":[0,0])"),
           tensor(R"("dtype":"U8","shape":[9223372036854775804],)"
                  R"("data_offsets":[3,9223372036854775807])"),
           std::string("{}"),
       }) {
    put_header(header, 4);
    EXPECT_NE(opening_error(), "") << header.substr(0, 100);
  }
}

TEST_F(SafetensorsTest, OverlapsAndNamesGivenTwice) {
  put_header(R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},)"
             R"("b":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}})",
             4);
  EXPECT_NE(opening_error().find("'b'"), std::string::npos);
  put_header(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
             R"("a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})",
             4);
  EXPECT_NE(opening_error().find("'a' twice"), std::string::npos);
}

TEST_F(SafetensorsTest, EveryTruncationIsAnError) {
  OwnedTensor t = counted(row_major({3}));
  write_safetensors(file(), {{"w", t.tensor}}, {});
  const std::string whole = content();
  for (std::size_t length = 0; length < whole.size(); ++length) {
    put(whole.substr(0, length));
    opening_error();
  }
  put(whole + "x");
  opening_error();
}

TEST_F(SafetensorsTest, AFileThatShrinksAfterOpeningIsAnError) {
  OwnedTensor t = counted(row_major({300}));
  write_safetensors(file(), {{"w", t.tensor}}, {});
  const SafetensorsFile opened(file());
  fs::resize_file(file(), 600);
  EXPECT_THROW(opened.read("w", t.tensor), Error);
}

}  // namespace
}  // namespace stagecoach
