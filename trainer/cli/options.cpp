#include "trainer/cli/options.h"

#include <memory>
#include <utility>

#include "core/error.h"

namespace stagecoach {

std::string HelpFormatter::make_help(const CLI::App* app, std::string name,
                                     CLI::AppFormatMode mode) const {
  const std::string text = CLI::Formatter::make_help(app, std::move(name), mode);
  return CLI::detail::find_and_replace(text, "\n\n\n", "\n\n");
}

std::string HelpFormatter::make_option_opts(const CLI::Option* option) const {
  return option->get_type_size() == 0 ? "" : " " + option->get_type_name();
}

std::string HelpFormatter::make_option_desc(const CLI::Option* option) const {
  const std::string value = option->get_default_str();
  return option->get_description() + (value.empty() ? "" : " [" + value + "]");
}

std::string operation_of(const CLI::App& command) {
  return "stagecoach " + command.get_name();
}

void throw_no_number(const std::string& operation, const char* kind, const std::string& option,
                     const std::string& text) {
  throw UsageError(operation, fmt::format("{} after {}", kind, option), fmt::format("'{}'", text));
}

CLI::Option* Group::add_text(
    const char* names, const char* type, const std::string& text,
    const std::function<void(const std::string& option, const std::string& word)>& take) const {
  // The option is known only behind add_option_function().
  const auto option = std::make_shared<CLI::Option*>();
  *option = app_.add_option_function<std::string>(
      names, [option, take](const std::string& word) { take((*option)->get_name(), word); }, text);
  return (*option)->type_name(type)->group(name_);
}

CLI::Option* Group::add(const char* names, std::filesystem::path& file, const char* type,
                        const std::string& text) const {
  CLI::Option* option = app_.add_option(names, file, text)->type_name(type)->group(name_);
  const auto check = [option, operation = operation_of(app_)](std::string& word) {
    if (word.empty()) throw UsageError(operation, "a name after " + option->get_name(), "''");
    return std::string();
  };
  return option->check(CLI::Validator(check, ""))->default_str("");
}

CLI::Option* Group::add_flag(const char* name, bool& value, const char* text) const {
  return app_.add_flag(name, value, text)->group(name_);
}

}  // namespace stagecoach
