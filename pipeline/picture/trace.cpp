#include "pipeline/picture/trace.h"

#include <fmt/ranges.h>

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

// What may run beside a rank's work has rows of its own.
constexpr int kSideRows = 1 << 20;

std::string json_string(const std::string& text) {
  using nlohmann::json;
  return json(text).dump(-1, ' ', false, json::error_handler_t::replace);
}

void write_metadata(std::ostream& out, const std::vector<TraceEvent>& events,
                    const std::string& title) {
  std::map<int, std::set<int>> stages_of;
  std::set<std::string_view> beside;
  for (const TraceEvent& event : events) {
    stages_of[event.rank].insert(event.stage);
    if (has_own_row(event)) {
      beside.insert(event.kind == TraceKind::kReduce ? "sum over replicas" : name_of(event.kind));
    }
  }
  out << R"({"name":"process_name","ph":"M","pid":0,"args":{"name":)" << json_string(title) << "}}";
  const auto name_row = [&](int row, int place, const std::string& name) {
    out << fmt::format(
        R"(,
{{"name":"thread_name","ph":"M","pid":0,"tid":{0},"args":{{"name":{1}}}}},
{{"name":"thread_sort_index","ph":"M","pid":0,"tid":{0},"args":{{"sort_index":{2}}}}})",
        row, json_string(name), place);
  };
  for (const auto& [rank, stages] : stages_of) {
    std::string name = fmt::format("rank {}: stage", rank);
    for (int stage : stages) name += fmt::format(" {}", stage);
    name_row(rank, beside.empty() ? rank : 2 * rank, name);
    if (!beside.empty()) {
      name_row(kSideRows + rank, 2 * rank + 1,
               fmt::format("rank {}: {}", rank, fmt::join(beside, ", ")));
    }
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
                 kind, has_own_row(event) ? kSideRows + event.rank : event.rank, event.start * 1e6,
                 (event.end - event.start) * 1e6, event.stage);
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

}  // namespace

std::string_view name_of(TraceKind kind) {
  // By kind.
  constexpr std::string_view kNames[] = {"F",    "B",       "W",    "BW",        "R",
                                         "send", "receive", "wait", "optimizer", "reduce"};
  return kNames[static_cast<std::size_t>(kind)];
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

}  // namespace stagecoach
