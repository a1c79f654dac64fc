#include "pipeline/picture/trace.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <ostream>
#include <set>

#include "core/error.h"
#include "core/file.h"
#include "pipeline/schedule/slot_use.h"

namespace stagecoach {
namespace {

std::string json_string(const std::string& text) {
  using nlohmann::json;
  return json(text).dump(-1, ' ', false, json::error_handler_t::replace);
}

void write_metadata(std::ostream& out, const std::vector<TraceEvent>& events,
                    const std::string& title) {
  std::map<int, std::set<int>> stages_of;
  for (const TraceEvent& event : events) stages_of[event.rank].insert(event.stage);
  out << R"({"name":"process_name","ph":"M","pid":0,"args":{"name":)" << json_string(title) << "}}";
  for (const auto& [rank, stages] : stages_of) {
    std::string name = fmt::format("rank {}: stage", rank);
    for (int stage : stages) name += fmt::format(" {}", stage);
    out << fmt::format(
        R"(,
{{"name":"thread_name","ph":"M","pid":0,"tid":{0},"args":{{"name":{1}}}}},
{{"name":"thread_sort_index","ph":"M","pid":0,"tid":{0},"args":{{"sort_index":{0}}}}})",
        rank, json_string(name));
  }
}

void append_event(fmt::memory_buffer& buffer, const TraceEvent& event) {
  STAGECOACH_CHECK(std::isfinite(event.start) && std::isfinite(event.end), "write_chrome_trace",
                   "events with finite times", fmt::format("{} to {}", event.start, event.end));
  const std::string_view kind = name_of(event.kind);
  const bool numbered = event.micro_batch >= 0;
  auto out = std::back_inserter(buffer);
  fmt::format_to(out, ",\n{{\"name\":\"{}", kind);
  if (numbered) fmt::format_to(out, "{}{}", kind.size() > 1 ? " " : "", event.micro_batch);
  fmt::format_to(out,
                 R"(","cat":"{}","ph":"X","pid":0,"tid":{},"ts":{:.3f},"dur":{:.3f},"args":{{)"
                 R"("stage":{},)",
                 kind, event.rank, event.start * 1e6, (event.end - event.start) * 1e6, event.stage);
  if (numbered) fmt::format_to(out, R"("micro_batch":{},)", event.micro_batch);
  fmt::format_to(out, R"("step":{}}}}})", event.step);
}

void append_counter(fmt::memory_buffer& buffer, const TraceCounter& counter) {
  STAGECOACH_CHECK(std::isfinite(counter.time) && std::isfinite(counter.value),
                   "write_chrome_trace", "counters with finite numbers",
                   fmt::format("{} at {}", counter.value, counter.time));
  fmt::format_to(std::back_inserter(buffer),
                 R"(,
{{"name":"{0}, rank {1}","ph":"C","pid":0,"ts":{2:.3f},"args":{{"{0}":{3}}}}})",
                 counter.name, counter.rank, counter.time * 1e6, counter.value);
}

// Of an action that takes time; none for the others.
std::optional<TraceKind> kind_of(ActionKind action) {
  switch (action) {
    case ActionKind::kForward:
      return TraceKind::kForward;
    case ActionKind::kBackwardInput:
      return TraceKind::kBackwardInput;
    case ActionKind::kBackwardWeight:
      return TraceKind::kBackwardWeight;
    case ActionKind::kBackward:
      return TraceKind::kBackward;
    case ActionKind::kRecompute:
      return TraceKind::kRecompute;
    default:
      return std::nullopt;
  }
}

}  // namespace

std::string_view name_of(TraceKind kind) {
  switch (kind) {
    case TraceKind::kForward:
      return "F";
    case TraceKind::kBackwardInput:
      return "B";
    case TraceKind::kBackwardWeight:
      return "W";
    case TraceKind::kBackward:
      return "BW";
    case TraceKind::kRecompute:
      return "R";
    case TraceKind::kSend:
      return "send";
    case TraceKind::kReceive:
      return "receive";
    case TraceKind::kWait:
      return "wait";
    case TraceKind::kOptimizer:
      return "optimizer";
  }
  return "?";
}

void write_chrome_trace(const std::filesystem::path& file, const std::vector<TraceEvent>& events,
                        const std::string& title, const std::vector<TraceCounter>& counters) {
  constexpr std::size_t kFlushBytes = 1 << 20;
  write_file(file, [&](std::ostream& out) {
    out << "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n";
    write_metadata(out, events, title);
    fmt::memory_buffer buffer;
    const auto flush = [&](std::size_t bytes) {
      if (buffer.size() < bytes) return;
      out.write(buffer.data(), static_cast<std::streamsize>(buffer.size()));
      buffer.clear();
    };
    for (const TraceEvent& event : events) {
      append_event(buffer, event);
      flush(kFlushBytes);
    }
    for (const TraceCounter& counter : counters) {
      append_counter(buffer, counter);
      flush(kFlushBytes);
    }
    flush(0);
    out << "\n]}\n";
  });
}

Timeline timeline_of(const Simulation& simulation, const std::string& title) {
  Timeline timeline{title, {}, static_cast<int>(simulation.busy.size())};
  for (const SimulatedAction& one : simulation.actions) {
    const std::optional<TraceKind> kind = kind_of(one.action.kind);
    if (!kind) continue;
    timeline.events.push_back(
        {*kind, one.rank, one.action.stage, one.action.micro_batch, 0, one.start, one.end});
  }
  return timeline;
}

Timeline timeline_of(const Simulation& simulation, const SimulationCosts& costs,
                     const std::string& title) {
  const Timeline joint = timeline_of(simulation, title);
  Timeline timeline{title, {}, joint.ranks};
  for (TraceEvent event : joint.events) {
    if (event.kind == TraceKind::kBackward) {
      const StageCosts& stage = costs.stages[event.stage];
      const auto part = [&](TraceKind kind, double seconds) {
        TraceEvent one = event;
        one.kind = kind;
        event.start = one.end = event.start + seconds;
        if (seconds > 0) timeline.events.push_back(one);
      };
      part(TraceKind::kBackwardInput, stage.backward_input);
      part(TraceKind::kRecompute, stage.recompute_in_backward);
      event.kind = TraceKind::kBackwardWeight;
    }
    timeline.events.push_back(event);
  }
  return timeline;
}

std::vector<TraceCounter> slot_counters(const Schedule& schedule, const Simulation& simulation,
                                        const SimulationCosts& costs) {
  const auto has_bytes = [](const StageCosts& stage) { return stage.slot_bytes != 1; };
  const bool bytes = std::ranges::any_of(costs.stages, has_bytes);
  const SlotUse use(schedule);
  std::vector<TraceCounter> counters;
  std::vector<int> slots(simulation.busy.size());
  std::vector<double> in_use(simulation.busy.size());
  const auto add = [&](const SimulatedAction& one, double time, int change) {
    slots[one.rank] += change;
    in_use[one.rank] += change * costs.stages[one.action.stage].slot_bytes;
    counters.push_back({"slots", one.rank, time, static_cast<double>(slots[one.rank])});
    if (bytes) counters.push_back({"slot bytes", one.rank, time, in_use[one.rank]});
  };
  for (const SimulatedAction& one : simulation.actions) {
    if (SlotUse::takes(one.action)) add(one, one.start, 1);
    if (use.gives(one.action)) add(one, one.end, -1);
  }
  return counters;
}

}  // namespace stagecoach
