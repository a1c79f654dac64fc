#include "trainer/metrics.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/error.h"

namespace stagecoach {
namespace {

constexpr std::int64_t kLines = 20;  // where the output is no terminal

// "1:05:09", "0:07".
std::string duration(double seconds) {
  const auto total = static_cast<std::int64_t>(seconds + 0.5);
  const std::int64_t hours = total / 3600, minutes = total / 60 % 60;
  return hours > 0 ? fmt::format("{}:{:02}:{:02}", hours, minutes, total % 60)
                   : fmt::format("{}:{:02}", minutes, total % 60);
}

}  // namespace

MetricsFile::MetricsFile(std::filesystem::path file) : file_(std::move(file)) {}

void MetricsFile::write(const StepMetrics& metrics) {
  if (file_.empty()) return;
  if (!stream_.is_open()) {
    stream_.open(file_, std::ios::trunc);
    STAGECOACH_CHECK(stream_.is_open(), "--metrics", fmt::format("to write '{}'", file_.string()),
                     std::strerror(errno));
  }
  nlohmann::ordered_json line = {{"step", metrics.step},
                                 {"loss", metrics.loss},
                                 {"accuracy", metrics.accuracy},
                                 {"images_per_second", metrics.images_per_second}};
  if (metrics.test_accuracy) line["test_accuracy"] = *metrics.test_accuracy;
  stream_ << line.dump() << std::endl;
  STAGECOACH_CHECK(stream_.good(), "--metrics",
                   fmt::format("to write step {} to '{}'", metrics.step, file_.string()),
                   std::strerror(errno), "is the disk full?");
}

std::string progress_text(const StepMetrics& metrics, std::int64_t steps, double seconds_left) {
  const std::string all = fmt::format("{}", steps);
  std::string text =
      fmt::format("step {:>{}}/{}  loss {:8.4f}  accuracy {:5.1f} %  {:8.1f} images/s  {:>8} left",
                  metrics.step, all.size(), all, metrics.loss, 100 * metrics.accuracy,
                  metrics.images_per_second, duration(seconds_left));
  if (metrics.test_accuracy) text += fmt::format("  test {:.1f} %", 100 * *metrics.test_accuracy);
  return text;
}

Progress::Progress(std::int64_t steps, bool quiet)
    : steps_(steps),
      quiet_(quiet),
      terminal_(::isatty(STDERR_FILENO) == 1),
      start_(std::chrono::steady_clock::now()) {}

Progress::~Progress() {
  finish_line();
}

void Progress::update(const StepMetrics& metrics) {
  if (quiet_) return;
  const bool stays = metrics.test_accuracy.has_value();
  const std::int64_t step = metrics.step;
  const bool due =
      step == 1 || step >= steps_ || step * kLines / steps_ != (step - 1) * kLines / steps_;
  if (!terminal_ && !due && !stays) return;

  const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - start_;
  const double left = step > 0 && step < steps_ ? passed.count() / static_cast<double>(step) *
                                                      static_cast<double>(steps_ - step)
                                                : 0;
  const std::string text = progress_text(metrics, steps_, left);
  if (terminal_) {
    std::fprintf(stderr, "\r%s\x1b[K", text.c_str());  // \x1b[K: clears what a longer line left
    open_line_ = true;
    if (stays) finish_line();
  } else {
    std::fprintf(stderr, "%s\n", text.c_str());
  }
  std::fflush(stderr);
}

void Progress::finish_line() {
  if (!open_line_) return;
  std::fputc('\n', stderr);
  std::fflush(stderr);
  open_line_ = false;
}

}  // namespace stagecoach
