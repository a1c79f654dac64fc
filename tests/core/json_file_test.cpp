#include "core/json_file.h"

#include <gtest/gtest.h>

#include <sstream>

#include "core/error.h"
#include "tests/proportional_time.h"

namespace stagecoach {
namespace {

using nlohmann::json;

std::string failure(const std::string& text, const JsonLimits& limits = {}) {
  try {
    parse_json("test", text, "name", limits);
  } catch (const Error& error) {
    return error.message();
  }
  return "";
}

TEST(JsonFile, ReadsWhatTheLibraryReads) {
  for (const std::string text :
       {"null", "true", "-3", "18446744073709551615", "1.5e3", R"("a\u00e9\n")", "[]", "{}",
        R"({"a":[1,{"b":[[]]},"c"],"d":null,"e":{"f":-1.25}})", " [1 , 2 ] "}) {
    EXPECT_EQ(parse_json("test", text, "name"), json::parse(text)) << text;
  }
}

TEST(JsonFile, RefusesWhatIsNone) {
  for (const std::string text : {"", "{", "[1,]", "nan", "1e999", "\xff", "\"\xe9\"", "1 2"}) {
    EXPECT_NE(failure(text).find("test: expected JSON in 'name'"), std::string::npos) << text;
  }
}

TEST(JsonFile, RefusesWhatTwoReadersWouldReadDifferently) {
  EXPECT_NE(failure(R"({"a":1,"a":2})").find("'a' twice"), std::string::npos);
  EXPECT_NE(failure(R"([{"x":{"b":1,"c":2,"b":3}}])").find("'b' twice"), std::string::npos);
  EXPECT_EQ(failure(R"([{"b":1},{"b":2},{"c":{"b":3}}])"), "");
}

TEST(JsonFile, HasLimits) {
  EXPECT_EQ(failure("[[[]]]", {.most_depth = 3}), "");
  EXPECT_NE(failure("[[[[]]]]", {.most_depth = 3}).find("nested too deeply"), std::string::npos);
  EXPECT_NE(failure(std::string(1'000'000, '[')).find("nested too deeply"), std::string::npos);
  EXPECT_NE(failure("[1,2,3]", {.most_elements = 2}).find("at most 2 elements"), std::string::npos);
  EXPECT_NE(failure("[1,2,3]", {.most_bytes = 5}).find("at most 5 bytes"), std::string::npos);
}

// The library's parser with a callback takes minutes for this.
TEST(JsonFile, ManyKeysTakeTimeInProportion) {
  testing::expect_time_in_proportion(200'000, [](std::int64_t keys) {
    std::ostringstream text;
    for (std::int64_t i = 0; i < keys; ++i) text << (i == 0 ? '{' : ',') << "\"k" << i << "\":{}";
    text << '}';
    EXPECT_EQ(std::ssize(parse_json("test", text.str(), "name")), keys);
  });
}

TEST(JsonFile, WritesValidTextWhateverStringsHold) {
  const std::string text = json_text(json{{"path", "caf\xe9"}});
  EXPECT_EQ(text, "{\"path\":\"caf\xEF\xBF\xBD\"}");
  EXPECT_EQ(json_text(json{{"a", 1}}, 2), "{\n  \"a\": 1\n}");
  EXPECT_EQ(shortened(json(std::string(500, 'x'))).size(), 203u);
}

}  // namespace
}  // namespace stagecoach
