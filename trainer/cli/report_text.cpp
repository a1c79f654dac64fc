#include "trainer/cli/report_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "trainer/percent.h"
#include "trainer/words.h"

namespace stagecoach {
namespace {

constexpr std::size_t kColumns = 100;

// At most `width` bytes, its beginning cut where it is longer: the end of a path says more. Only
// whole UTF-8 characters are cut.
std::string cut(std::string text, std::size_t width) {
  if (text.size() <= width) return text;
  std::size_t begin = text.size() - width + 3;
  while (begin < text.size() && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) ++begin;
  return "..." + text.substr(begin);
}

std::string plural(std::int64_t count, const char* thing) {
  return fmt::format("{} {}{}", count, thing, count == 1 ? "" : "s");
}

// 57044810 as "57,044,810".
std::string grouped(std::int64_t number) {
  std::string text = fmt::format("{}", number);
  for (auto i = static_cast<std::int64_t>(text.size()) - 3; i > 0; i -= 3) {
    text.insert(text.begin() + i, ',');
  }
  return text;
}

std::string mebibytes(std::int64_t bytes) {
  return fmt::format("{:.1f} MiB", static_cast<double>(bytes) / (1 << 20));
}

std::string milliseconds(double seconds) {
  return fmt::format("{:.1f}", 1e3 * seconds);
}

std::string header(const RunReport& r) {
  const bool on_cpu = r.launch == Launch::kThreads;
  const std::string precision = on_cpu ? "" : fmt::format(", {}", name_of(r.precision));
  const std::string job = fmt::format(", {0} x {0}, on {1}{2}", r.image_size, r.device, precision);
  std::string text = fmt::format("{} on ", r.model);
  text += cut(r.data, kColumns - std::min(kColumns - 10, text.size() + job.size())) + job + "\n";
  const std::string processes = fmt::format("{} processes, ", r.processes);
  const std::string threads =
      on_cpu && r.processes > 1    ? processes + plural(r.threads, "thread") + " each"
      : on_cpu                     ? plural(r.threads, "thread") + " a stage"
      : r.launch == Launch::kGraph ? "a captured graph launched for each step"
                                   : "kernels launched one by one";
  const std::string replicas = r.replicas > 1 ? fmt::format(", R = {}", r.replicas) : "";
  const std::string batches =
      fmt::format("M = {}, B = {}{}: {} images a step", r.micro_batches, r.micro_batch_size,
                  replicas, r.micro_batches * r.micro_batch_size * r.replicas);
  if (r.stages == 0) {
    text += fmt::format("plain loop without a pipeline, {}, {}\n", batches,
                        on_cpu ? plural(r.threads, "thread") : threads);
  } else {
    const std::string chunks = r.chunks > 1 ? fmt::format(", V = {}", r.chunks) : "";
    text += fmt::format("{}, K = {}{}, {}, {}\n", cut(r.schedule, 24), r.stages, chunks, batches,
                        threads);
  }
  return text;
}

std::string results(const RunReport& r) {
  std::string text = fmt::format("{:.1f} images/s, median step {:.3f} s, {} in {:.1f} s, seed {}\n",
                                 r.images_per_second, r.step_seconds_median,
                                 plural(r.steps, "step"), r.total_seconds, r.seed);
  const std::int64_t last = r.first_step - 1 + r.steps;
  if (r.first_step > 1) text += fmt::format("went on from step {}\n", r.first_step);
  if (last < r.planned_steps) {
    text += fmt::format("ended after {} of {}\n", last, plural(r.planned_steps, "step"));
  }
  text += fmt::format("loss {:.4f} -> {:.4f} (first -> last step)\n", r.loss_first, r.loss_last);
  text += fmt::format("accuracy in training {} -> {} (first -> last tenth of the steps)\n",
                      percent(r.training_accuracy_first), percent(r.training_accuracy_last));
  if (r.accuracy) {
    text += fmt::format("accuracy {} on {}\n", percent(*r.accuracy),
                        plural(r.test_samples, "test image"));
  }
  return text;
}

// "features.0 Conv2d" to "features.0"; a layer without a name keeps its kind.
std::string short_name(const std::string& name) {
  const std::size_t blank = name.find(' ');
  return blank == 0 ? name.substr(1) : name.substr(0, blank);
}

std::string layers_of(const StageReport& stage, std::size_t width) {
  const std::string first = short_name(stage.first_name), last = short_name(stage.last_name);
  return cut(stage.first_layer == stage.last_layer ? first : first + " - " + last, width);
}

// A column R where F ran again, and the rank after the stage where ranks have several.
std::string stage_table(const RunReport& r) {
  constexpr const char* kRow = "{:>5}  {:<27}{:>11}{:>8}{:>8}{:>8}{:>8}{:>6}{:>8}{:>8}\n";
  constexpr const char* kRowWithR = "{:>5}  {:<27}{:>11}{:>8}{:>8}{:>8}{:>8}{:>8}{:>6}{:>8}\n";
  const bool again = r.recompute != Recompute::kNever, several = r.chunks > 1;
  std::string text =
      "\nMilliseconds per step: F forward, B gradient of the input, W gradient of the weights\n";
  if (again) text += "R: forward again, before B\n";
  if (several) text += "stage@rank; wait is that of the rank, for each of its stages\n";
  if (r.stages > 0) text += fmt::format("Stages split by: {}\n", cut(r.partition, kColumns - 20));
  const char* stage_title = several ? "s@r" : "stage";
  text += again ? fmt::format(kRowWithR, stage_title, "layers", "parameters", "F", "R", "B", "W",
                              "wait", "comm", "busy")
                : fmt::format(kRow, stage_title, "layers", "parameters", "F", "B", "W", "wait",
                              "comm", "busy", "work");
  double work = 0, optimizer = 0, hidden_optimizer = 0, reduce = 0, hidden = 0;
  std::int64_t parameters = 0;
  for (const StageReport& stage : r.stage) work += stage.busy_seconds();
  for (std::size_t i = 0; i < r.stage.size(); ++i) {
    const StageReport& s = r.stage[i];
    const std::string name = several ? fmt::format("{}@{}", i, s.rank) : fmt::format("{}", i);
    const std::string forward = milliseconds(s.forward_seconds),
                      backward = milliseconds(s.backward_input_seconds),
                      weight = milliseconds(s.backward_weight_seconds),
                      wait = milliseconds(s.wait_seconds),
                      comm = milliseconds(s.communication_seconds),
                      busy = milliseconds(s.busy_seconds()),
                      share = work > 0 ? percent(s.busy_seconds() / work) : "-";
    text += again
                ? fmt::format(kRowWithR, name, layers_of(s, 27), grouped(s.parameters), forward,
                              milliseconds(s.recompute_seconds), backward, weight, wait, comm, busy)
                : fmt::format(kRow, name, layers_of(s, 27), grouped(s.parameters), forward,
                              backward, weight, wait, comm, busy, share);
    if (s.optimizer_seconds > optimizer) {
      optimizer = s.optimizer_seconds;
      hidden_optimizer = s.hidden_optimizer_seconds;
    }
    reduce += s.reduce_seconds;
    hidden += s.hidden_reduce_seconds;
    parameters += s.parameters;
  }
  const std::string beside =
      hidden_optimizer > 0
          ? fmt::format(", {} of it beside them", percent(hidden_optimizer / optimizer))
          : "";
  text += fmt::format("{} parameters; busy = F + B + W{}; after them the optimizer: {} ms{}\n",
                      grouped(parameters), again ? " + R" : "", milliseconds(optimizer), beside);
  if (reduce > 0) {
    const char* const transport = r.launch == Launch::kThreads ? ", by MPI" : ", by NCCL";
    text += fmt::format(
        "sum of gradients over {} replicas{}: {} ms of all stages, {} of it while a "
        "rank computes\n",
        r.replicas > 1 ? std::to_string(r.replicas) : "the table's",
        r.fast_nondeterministic ? transport : "", milliseconds(reduce), percent(hidden / reduce));
  }
  return text;
}

// What the stages make of the processor, so that a slow machine or a neighbour on it is seen. Above
// 100 % where Winograd's convolution does with less than a direct one.
std::string peak_line(const RunReport& r) {
  if (!r.core_peak || r.stage.empty()) return "";
  constexpr std::size_t kListed = 2;
  std::vector<double> shares;
  for (const StageReport& stage : r.stage) shares.push_back(r.peak_share(stage));
  std::string text;
  if (shares.size() <= kListed) {
    for (const double share : shares) text += (text.empty() ? "" : ", ") + percent(share);
  } else {
    const auto [least, most] = std::ranges::minmax(shares);
    text = fmt::format("{} to {}", percent(least), percent(most));
  }
  return fmt::format(
      "stages make {} of a core's {:.0f} GFLOP/s ({}), convolutions counted as direct ones\n", text,
      2e-9 * *r.core_peak, r.instruction_set);
}

// Where the predicted idle time comes from. With mean and max of the stages' work and the predicted
// makespan T: 1 - mean / T = (T - max) / T + (max - mean) / T, schedule and imbalance.
struct IdleParts {
  double schedule = 0, imbalance = 0;
};

IdleParts parts_of(const BubbleReport& bubble) {
  if (bubble.imbalance >= 1) return {0, bubble.predicted};
  const double slowest = (1 - bubble.predicted) / (1 - bubble.imbalance);  // max / T
  return {std::max(0.0, 1 - slowest), bubble.imbalance * slowest};
}

std::string bubble_block(const RunReport& r, const BubbleReport& b) {
  const IdleParts parts = parts_of(b);
  const double rest = b.measured - b.predicted;
  const auto line = [](double part, const std::string& why) {
    return fmt::format("{:>8}  {}\n", percent(part), why);
  };
  const bool naive = r.schedule == "naive";
  const std::string formula =
      b.formula ? fmt::format(", formula {} = {}", b.formula_text, percent(*b.formula)) : "";
  std::string text = fmt::format("\nbubble: measured {}, predicted {}{}\n", percent(b.measured),
                                 percent(b.predicted), formula);
  text += fmt::format("Of the time of all stages in a step, {} was idle:\n", percent(b.measured));
  text +=
      line(parts.schedule, naive ? "schedule: one stage works at a time, the others wait"
                                 : "schedule: the pipeline fills and drains; more micro-batches "
                                   "make it less");
  text += line(parts.imbalance,
               "imbalance: the faster stages wait for the slowest; only another split helps");
  text += line(rest, rest < 0 ? "the rest: the run was faster than predicted"
                              : "the rest: shared cores and memory, threads waking up, late data");
  text += fmt::format(
      "predicted: the steps replayed, each with its times; makespan {} ms, measured {} ms\n",
      milliseconds(b.predicted_makespan_seconds), milliseconds(b.measured_makespan_seconds));
  if (r.transport) {
    text +=
        fmt::format("messages between processes, there too: {}\n", to_text(r.transport->messages));
  }
  if (b.joint_makespan_seconds && *b.joint_makespan_seconds > 0) {
    text += fmt::format(
        "W apart from B: with W at once after its B the makespan would be {} ms; W fills {} of "
        "it\n",
        milliseconds(*b.joint_makespan_seconds),
        percent(1 - b.predicted_makespan_seconds / *b.joint_makespan_seconds));
  }
  if (b.zb_h1_makespan_seconds) {
    text += fmt::format("with these times --schedule zb-h1 would take {} ms: W in the idle time\n",
                        milliseconds(*b.zb_h1_makespan_seconds));
  }
  if (b.formula) {
    text +=
        fmt::format("formula: for stages that all take the same time{}; here 1 - mean/max is {}\n",
                    b.joint_makespan_seconds ? " and F = B = W" : "", percent(b.imbalance));
  }
  return text;
}

// What running F again cost, and what it saved.
std::string recompute_line(const RunReport& r) {
  double work = 0, again = 0;
  std::int64_t planned = 0, without = 0;
  for (const StageReport& stage : r.stage) {
    work += stage.busy_seconds();
    again += stage.recompute_seconds;
  }
  for (const MemoryReport& memory : r.memory) planned += memory.planned_bytes;
  for (const std::int64_t bytes : r.planned_without_recompute) without += bytes;
  const std::string interval =
      r.recompute_interval > 0
          ? fmt::format(" ({} at a time)", plural(r.recompute_interval, "layer"))
          : "";
  return fmt::format(
      "recompute {}{}: {} ms a step, {} of the work\n"
      "memory of all stages with it {}, without it {}\n",
      name_of(r.recompute), interval, milliseconds(again), percent(work > 0 ? again / work : 0),
      mebibytes(planned), mebibytes(without));
}

std::string memory_block(const RunReport& r) {
  std::string text = "\n";
  for (std::size_t i = 0; i < r.memory.size(); ++i) {
    const MemoryReport& m = r.memory[i];
    text += fmt::format("memory of stage {}{}: planned {}, measured peak {}{}\n", i,
                        r.replicas > 1 ? ", of each replica" : "", mebibytes(m.planned_bytes),
                        mebibytes(m.peak_bytes), m.planned_bytes == m.peak_bytes ? ": equal" : "");
  }
  if (!r.planned_without_recompute.empty()) text += recompute_line(r);
  text += fmt::format(
      "batches of the loader {}, {}peak of the whole process {}\n", mebibytes(r.loader_bytes),
      r.snapshot_bytes > 0
          ? fmt::format("snapshots for checkpoints {}, ", mebibytes(r.snapshot_bytes))
          : "",
      mebibytes(r.process_peak_bytes));
  if (r.snapshots > 0) {
    text += fmt::format("{} between steps, for which the training stood still {:.2f} s\n",
                        plural(r.snapshots, "checkpoint"), r.snapshot_seconds);
  }
  text += r.data_waits == 0
              ? "data: every batch was ready in time\n"
              : fmt::format("data: {} waited {:.2f} s for a batch that was not ready\n",
                            plural(r.data_waits, "step"), r.data_wait_seconds);
  if (r.images_left_out > 0) {
    text += fmt::format("{} of every epoch fill no step and are left out: --last-batch drop\n",
                        plural(r.images_left_out, "image"));
  }
  return text;
}

}  // namespace

std::string to_text(const RunReport& report) {
  std::string text = header(report) + results(report);
  if (!report.stage.empty()) text += stage_table(report) + peak_line(report);
  if (report.bubble) text += bubble_block(report, *report.bubble);
  return text + memory_block(report);
}

}  // namespace stagecoach
