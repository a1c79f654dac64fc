// Metrics: one line per training step, for people (progress) and for programs (JSON lines).
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "core/descriptor_stream.h"

namespace stagecoach {

struct StepMetrics {
  std::int64_t step = 0;  // from 1
  double loss = 0;
  double accuracy = 0;  // on the step's training batch, [0, 1]
  double images_per_second = 0;
  std::optional<double> test_accuracy;  // when an evaluation followed this step
  double learning_rate = 0;
  std::optional<double> gradient_norm = {};  // before it was clipped; where it is
};

// Writes metrics lines {"step":..,"loss":..,"accuracy":..,"images_per_second":..,
// "learning_rate":..} and, where there is one, "gradient_norm" and "test_accuracy"; NaN and
// infinity as null. The first line replaces an old file, so a run that fails before it leaves that
// as it was; each line is flushed, so a run that fails later has told what it knew. A run that goes
// on behind step `begin` adds to a file: its lines up to that step stay. A line that cannot be
// written is the last one that is tried: no training ends for it.
class MetricsFile {
 public:
  explicit MetricsFile(std::filesystem::path file,  // empty: writes nothing
                       std::int64_t begin = 0);
  void write(const StepMetrics& metrics);
  // Why lines are missing; empty: none are.
  const std::string& failure() const { return failure_; }

 private:
  void open();

  std::filesystem::path file_;
  std::int64_t begin_;
  std::unique_ptr<DescriptorStream> stream_;
  std::string failure_;
};

// The line that Progress shows: every column keeps its width during a run of `steps`. What does not
// fit into `columns` is left out: first the speed, then the accuracy, then the time.
std::string progress_text(const StepMetrics& metrics, std::int64_t steps, double seconds_left,
                          std::size_t columns = 1000);

// The progress line on stderr: rewritten in place on a terminal, plain lines (at most about 20 a
// run, and the first and last step) otherwise; nothing when quiet. Shows step, loss, accuracy,
// images/s and the time left. A step with a test accuracy always gets a line that stays.
class Progress {
 public:
  // Of a run that goes on behind step `begin`.
  Progress(std::int64_t steps, bool quiet, std::int64_t begin = 0);
  ~Progress();  // ends the line on a terminal
  void update(const StepMetrics& metrics);
  // Before anything else is printed to the terminal.
  void finish_line();

 private:
  std::int64_t steps_, begin_;
  bool quiet_, terminal_, open_line_ = false;
  std::chrono::steady_clock::time_point start_;
};

}  // namespace stagecoach
