// What the commands' options share: CLI11, taught to be strict and to print help for people.
#pragma once

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <system_error>
#include <type_traits>

#include "trainer/cli/words.h"

namespace stagecoach {

// CLI11's layout with the default at the end of the description instead of in the option's name.
class HelpFormatter : public CLI::Formatter {
 public:
  HelpFormatter() { column_width(32); }

  // One blank line between groups.
  std::string make_help(const CLI::App* app, std::string name,
                        CLI::AppFormatMode mode) const override;
  std::string make_option_opts(const CLI::Option* option) const override;
  std::string make_option_desc(const CLI::Option* option) const override;
};

// "stagecoach train": what errors of its options begin with.
std::string operation_of(const CLI::App& command);

// Throws UsageError: `text` is not `kind`, which is "a number".
[[noreturn]] void throw_no_number(const std::string& operation, const char* kind,
                                  const std::string& option, const std::string& text);

// `text` as a number, all of it: CLI11 takes "" for 0, 010 for 8, -1 for 2^64 - 1 and what is too
// large for the largest number. Throws UsageError.
template <typename T>
T number_of(const std::string& operation, const std::string& option, const std::string& text) {
  T value{};
  const char* end = text.data() + text.size();
  const auto [stop, code] = std::from_chars(text.data(), end, value);
  const bool whole = std::is_integral_v<T>;
  if (stop == end && code == std::errc()) return value;
  const char* kind = !whole                                   ? "a number"
                     : code == std::errc::result_out_of_range ? "a smaller number"
                     : std::is_unsigned_v<T>                  ? "a whole number, at least 0,"
                                                              : "a whole number";
  throw_no_number(operation, kind, option, text);
}

// Options of one group in the help.
class Group {
 public:
  Group(CLI::App& app, const char* name) : app_(app), name_(name) {}

  template <typename T>
  CLI::Option* add(const char* names, T& value, const char* type, const std::string& text) const {
    CLI::Option* option = app_.add_option(names, value, text)->type_name(type)->group(name_);
    if constexpr (std::is_arithmetic_v<T>) {
      const auto check = [option, operation = operation_of(app_)](std::string& word) {
        const T number = number_of<T>(operation, option->get_name(), word);
        if (std::is_integral_v<T>) word = fmt::format("{}", number);
        return std::string();
      };
      option->transform(CLI::Validator(check, ""));
    }
    return option;
  }
  // A number that stays empty where it is not given.
  template <typename T>
  CLI::Option* add(const char* names, std::optional<T>& value, const char* type,
                   const std::string& text) const {
    return add_text(names, type, text,
                    [&value, operation = operation_of(app_)](const std::string& option,
                                                             const std::string& word) {
                      value = number_of<T>(operation, option, word);
                    });
  }
  // One of the words of `table`.
  template <typename Value, std::size_t count>
  CLI::Option* add(const char* names, Value& value, const char* type, const std::string& text,
                   const Word<std::type_identity_t<Value>> (&table)[count]) const {
    return add_text(names, type, text,
                    [&value, &table, operation = operation_of(app_)](const std::string& option,
                                                                     const std::string& word) {
                      value = value_of(operation, option, word, table);
                    })
        ->default_str(std::string(word_of(table, value)));
  }
  template <typename Value, std::size_t count>
  CLI::Option* add(const char* names, std::optional<Value>& value, const char* type,
                   const std::string& text, const Word<Value> (&table)[count]) const {
    return add_text(names, type, text,
                    [&value, &table, operation = operation_of(app_)](const std::string& option,
                                                                     const std::string& word) {
                      value = value_of(operation, option, word, table);
                    });
  }
  // Hands the option's name and its word to `take`.
  CLI::Option* add_text(
      const char* names, const char* type, const std::string& text,
      const std::function<void(const std::string& option, const std::string& word)>& take) const;
  CLI::Option* add(const char* names, std::filesystem::path& file, const char* type,
                   const std::string& text) const;
  CLI::Option* add_flag(const char* name, bool& value, const char* text) const;

 private:
  CLI::App& app_;
  const char* name_;
};

}  // namespace stagecoach
