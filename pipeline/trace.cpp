#include "pipeline/trace.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <ostream>
#include <set>

#include "core/error.h"
#include "core/file.h"

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

}  // namespace

std::string_view name_of(TraceKind kind) {
  switch (kind) {
    case TraceKind::kForward:
      return "F";
    case TraceKind::kBackwardInput:
      return "B";
    case TraceKind::kBackwardWeight:
      return "W";
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
                        const std::string& title) {
  constexpr std::size_t kFlushBytes = 1 << 20;
  write_file(file, [&](std::ostream& out) {
    out << "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n";
    write_metadata(out, events, title);
    fmt::memory_buffer buffer;
    for (const TraceEvent& event : events) {
      append_event(buffer, event);
      if (buffer.size() < kFlushBytes) continue;
      out.write(buffer.data(), static_cast<std::streamsize>(buffer.size()));
      buffer.clear();
    }
    out.write(buffer.data(), static_cast<std::streamsize>(buffer.size()));
    out << "\n]}\n";
  });
}

Timeline timeline_of(const Simulation& simulation, const SimulationCosts& costs,
                     const std::string& title) {
  Timeline timeline{title, {}, static_cast<int>(simulation.busy.size())};
  for (const SimulatedAction& one : simulation.actions) {
    const auto add = [&](TraceKind kind, double start, double end) {
      timeline.events.push_back(
          {kind, one.rank, one.action.stage, one.action.micro_batch, 0, start, end});
    };
    switch (one.action.kind) {
      case ActionKind::kForward:
        add(TraceKind::kForward, one.start, one.end);
        break;
      case ActionKind::kBackwardInput:
        add(TraceKind::kBackwardInput, one.start, one.end);
        break;
      case ActionKind::kBackwardWeight:
        add(TraceKind::kBackwardWeight, one.start, one.end);
        break;
      case ActionKind::kBackward: {
        const double middle = one.start + costs.stages[one.action.stage].backward_input;
        add(TraceKind::kBackwardInput, one.start, middle);
        add(TraceKind::kBackwardWeight, middle, one.end);
        break;
      }
      case ActionKind::kRecompute:
        add(TraceKind::kRecompute, one.start, one.end);
        break;
      default:  // the others take no time
        break;
    }
  }
  return timeline;
}

}  // namespace stagecoach
