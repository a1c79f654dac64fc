// Starts the program as a user does, in an environment in which nothing is found and nothing can be
// downloaded.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "tests/scratch_folder.h"

namespace stagecoach::testing {

inline std::string content_of(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  std::ostringstream text;
  text << stream.rdbuf();
  return text.str();
}

inline void write_text(const std::filesystem::path& file, const std::string& text) {
  std::ofstream(file, std::ios::binary) << text;
}

// Name and content of every file in a folder; folders have no content.
inline std::map<std::string, std::string> files_in(const std::filesystem::path& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    files[entry.path().string()] = entry.is_regular_file() ? content_of(entry.path()) : "";
  }
  return files;
}

struct ProgramResult {
  int exit_code = -1;  // 128 + the signal's number where one ended it
  std::string out, err;
};

// The variables of this process, but for those that say where data is and how to reach it.
inline std::vector<std::string> bare_environment(const std::filesystem::path& home) {
  std::map<std::string, std::string> variables;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    variables[text.substr(0, text.find('='))] = text.substr(text.find('=') + 1);
  }
  for (const char* name : {"CIFAR10_DIR", "XDG_CACHE_HOME", "no_proxy", "NO_PROXY", "all_proxy"}) {
    variables.erase(name);
  }
  variables["HOME"] = home.string();
  variables["https_proxy"] = "http://127.0.0.1:9";  // where nobody answers
  std::vector<std::string> environment;
  for (const auto& [name, value] : variables) environment.push_back(name + "=" + value);
  return environment;
}

inline std::vector<char*> pointers_to(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

// `words`: a command, by its path, and its arguments. `out`: where its standard output goes instead
// of into the result.
inline ProgramResult run_command(std::vector<std::string> words, std::string out = "") {
  const ScratchFolder scratch;
  const bool captured = out.empty();
  if (captured) out = scratch.path() / "out";
  const std::string err = scratch.path() / "err";
  std::filesystem::create_directory(scratch.path() / "home");
  std::vector<std::string> environment = bare_environment(scratch.path() / "home");

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  const int flags = O_WRONLY | O_CREAT | O_TRUNC;
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, out.c_str(), flags, 0600);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, err.c_str(), flags, 0600);
  pid_t child = 0;
  const int failure = posix_spawn(&child, words.at(0).c_str(), &actions, nullptr,
                                  pointers_to(words).data(), pointers_to(environment).data());
  posix_spawn_file_actions_destroy(&actions);
  if (failure != 0) throw std::runtime_error("cannot start " + words[0]);
  int status = 0;
  if (::waitpid(child, &status, 0) != child) throw std::runtime_error("waitpid");
  return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status),
          captured ? content_of(out) : "", content_of(err)};
}

inline ProgramResult run_program(std::vector<std::string> arguments, const std::string& out = "") {
  arguments.emplace(arguments.begin(), STAGECOACH_BINARY);
  return run_command(std::move(arguments), out);
}

// A shell's script, in which "$B" is the program, and $1 and so on are `arguments`.
inline ProgramResult run_shell(const std::string& script, std::vector<std::string> arguments = {}) {
  arguments.insert(arguments.begin(),
                   {"/bin/bash", "-c", "B=" STAGECOACH_BINARY "; " + script, "script"});
  return run_command(std::move(arguments));
}

// Options by name; a value of "" stands for an option that takes none.
using Options = std::map<std::string, std::string>;

// Of `stagecoach train` with `options`, and where they leave it open a run of seconds, quiet.
inline std::vector<std::string> train_arguments(const Options& options) {
  Options all = {{"--data", "synthetic"},
                 {"--image-size", "64"},
                 {"--micro-batch-size", "2"},
                 {"--micro-batches", "2"},
                 {"--steps", "2"},
                 {"--partition", "uniform"},
                 {"--max-train-samples", "40"},
                 {"--max-test-samples", "9"},
                 {"--threads", "1"},
                 {"--device", "cpu"},
                 {"--quiet", ""}};
  for (const auto& [name, value] : options) all[name] = value;
  std::vector<std::string> arguments = {"train"};
  for (const auto& [name, value] : all) {
    if (value == "no") continue;  // takes a default away
    arguments.push_back(name);
    if (!value.empty()) arguments.push_back(value);
  }
  return arguments;
}

inline ProgramResult run_train(const Options& options, const std::string& out = "") {
  return run_program(train_arguments(options), out);
}

inline void expect_has(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << "no '" << part << "' in:\n" << text;
}
inline void expect_lacks(const std::string& text, const std::string& part) {
  EXPECT_EQ(text.find(part), std::string::npos) << "'" << part << "' in:\n" << text;
}

// One line on stderr in the form that all errors have.
inline void expect_failure_said(const ProgramResult& result, int exit_code,
                                const std::vector<std::string>& parts) {
  EXPECT_EQ(result.exit_code, exit_code);
  EXPECT_EQ(result.err.rfind("stagecoach: error: ", 0), 0u) << result.err;
  EXPECT_EQ(result.err.find('\n'), result.err.size() - 1) << result.err;
  for (const std::string& part : parts) expect_has(result.err, part);
  for (const char* ours : {".cpp", ".h:", "std::", "terminate"}) expect_lacks(result.err, ours);
}
// And nothing on stdout.
inline void expect_error(const ProgramResult& result, int exit_code,
                         const std::vector<std::string>& parts) {
  EXPECT_EQ(result.out, "");
  expect_failure_said(result, exit_code, parts);
}

}  // namespace stagecoach::testing
