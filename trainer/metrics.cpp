#include "trainer/metrics.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <utility>

#include "core/error.h"
#include "core/file.h"
#include "core/input_file.h"
#include "core/json_file.h"
#include "core/log.h"

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

// Of the terminal behind the standard error, but one: a full line may break.
std::size_t terminal_columns() {
  struct winsize size {};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col < 2) return 79;
  return size.ws_col - 1U;
}

// The lines of the steps up to `last`. The first line that is of no step, or of a later one, ends
// them: it was cut off, or will be written again.
std::string lines_until(const std::string& text, std::int64_t last) {
  std::size_t end = 0;
  for (std::size_t next = 0; (next = text.find('\n', end)) != std::string::npos; end = next + 1) {
    const nlohmann::json line = nlohmann::json::parse(text.substr(end, next - end), nullptr, false);
    if (!line.is_object() || !line.contains("step") || !line["step"].is_number_integer() ||
        line["step"] > last) {
      break;
    }
  }
  return text.substr(0, end);
}

}  // namespace

MetricsFile::MetricsFile(std::filesystem::path file, std::int64_t begin)
    : file_(std::move(file)), begin_(begin) {}

void MetricsFile::open() {
  std::string kept;
  if (begin_ > 0 && kind_of("--metrics", file_) == FileKind::kFile) {
    kept = lines_until(read_text("--metrics", file_, std::int64_t{1} << 32), begin_);
  }
  stream_ = open_growing("--metrics", file_);
  *stream_ << kept;
}

void MetricsFile::write(const StepMetrics& metrics) {
  if (file_.empty() || !failure_.empty()) return;
  nlohmann::ordered_json line = {{"step", metrics.step},
                                 {"loss", metrics.loss},
                                 {"accuracy", metrics.accuracy},
                                 {"images_per_second", metrics.images_per_second},
                                 {"learning_rate", metrics.learning_rate}};
  if (metrics.gradient_norm) line["gradient_norm"] = *metrics.gradient_norm;
  if (metrics.test_accuracy) line["test_accuracy"] = *metrics.test_accuracy;
  try {
    if (!stream_) open();
    *stream_ << json_text(line) << std::endl;
    if (stream_->good()) return;
    throw Error("--metrics", fmt::format("to write step {} to '{}'", metrics.step, file_.string()),
                std::strerror(stream_->failure()), "the steps behind it are not in the file");
  } catch (const Error& error) {
    failure_ = error.message();
    spdlog::warn("{}: training goes on", failure_);
  }
}

std::string progress_text(const StepMetrics& metrics, std::int64_t steps, double seconds_left,
                          std::size_t columns) {
  const std::string all = fmt::format("{}", steps);
  const std::string step = fmt::format("step {:>{}}/{}", metrics.step, all.size(), all),
                    loss = fmt::format("  loss {:8.4f}", metrics.loss),
                    test = metrics.test_accuracy
                               ? fmt::format("  test {:.1f} %", 100 * *metrics.test_accuracy)
                               : "";
  std::string accuracy = fmt::format("  accuracy {:5.1f} %", 100 * metrics.accuracy),
              speed = fmt::format("  {:8.1f} images/s", metrics.images_per_second),
              left = fmt::format("  {:>8} left", duration(seconds_left));
  const auto text = [&] { return step + loss + accuracy + speed + left + test; };
  for (std::string* part : {&speed, &accuracy, &left}) {
    if (text().size() > columns) part->clear();
  }
  return text().substr(0, columns);
}

Progress::Progress(std::int64_t steps, bool quiet, std::int64_t begin)
    : steps_(steps),
      begin_(begin),
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
  const bool due = step == begin_ + 1 || step >= steps_ ||
                   step * kLines / steps_ != (step - 1) * kLines / steps_;
  if (!terminal_ && !due && !stays) return;

  const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - start_;
  const double left =
      step > begin_ && step < steps_
          ? passed.count() / static_cast<double>(step - begin_) * static_cast<double>(steps_ - step)
          : 0;
  const std::string text =
      terminal_ ? progress_text(metrics, steps_, left, terminal_columns())  // it may have changed
                : progress_text(metrics, steps_, left);
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
