#include "pipeline/picture/trace.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "pipeline/picture/timeline.h"
#include "pipeline/schedule/check.h"
#include "pipeline/schedule/generators.h"
#include "tests/pipeline/schedule/table_text.h"
#include "tests/scratch_folder.h"

namespace stagecoach {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

class Trace : public ::testing::Test {
 protected:
  json written(const std::vector<TraceEvent>& events, const std::string& title = "a run") {
    const fs::path file = folder_ / "trace.json";
    write_chrome_trace(file, events, title);
    std::ifstream stream(file);
    return json::parse(stream);
  }

  const testing::ScratchFolder scratch_;
  const fs::path& folder_ = scratch_.path();
};

TEST_F(Trace, CompleteEvents) {
  const json trace = written({{TraceKind::kForward, 1, 1, 3, 12, 0.001, 0.0025},
                              {TraceKind::kWait, 1, 1, 3, 12, 0.5, 0.5},
                              {TraceKind::kOptimizer, 0, 0, -1, 12, 2, 2.000001}});
  std::vector<json> complete;
  for (const json& event : trace.at("traceEvents")) {
    if (event.at("ph") == "X") complete.push_back(event);
  }
  ASSERT_EQ(complete.size(), 3U);
  EXPECT_EQ(complete[0], json::parse(R"({"name": "F3", "cat": "F", "ph": "X", "pid": 0, "tid": 1,
      "ts": 1000.0, "dur": 1500.0, "args": {"stage": 1, "micro_batch": 3, "step": 12}})"));
  EXPECT_EQ(complete[1].at("name"), "wait 3");
  EXPECT_EQ(complete[1].at("dur"), 0.0);
  EXPECT_EQ(complete[2].at("name"), "optimizer");
  EXPECT_EQ(complete[2].at("dur"), 1.0);
  EXPECT_EQ(complete[2].at("args"), json::parse(R"({"stage": 0, "step": 12})"));
}

TEST_F(Trace, NamesOfRows) {
  const std::string title = "\"quoted\" \\ title\n\xff";
  const json trace = written({{TraceKind::kForward, 0, 0, 0, 0, 0, 1},
                              {TraceKind::kForward, 0, 2, 0, 0, 0, 1},
                              {TraceKind::kForward, 1, 1, 0, 0, 0, 1}},
                             title);
  std::map<int, std::string> threads;
  std::string process;
  for (const json& event : trace.at("traceEvents")) {
    if (event.at("name") == "thread_name") threads[event.at("tid")] = event.at("args").at("name");
    if (event.at("name") == "process_name") process = event.at("args").at("name");
  }
  EXPECT_EQ(threads[0], "rank 0: stage 0 2");
  EXPECT_EQ(threads[1], "rank 1: stage 1");
  EXPECT_EQ(process, "\"quoted\" \\ title\n\xEF\xBF\xBD");  // what is not UTF-8 is replaced
}

TEST_F(Trace, WhatRunsBesideARankHasARowOfItsOwn) {
  const json trace = written({{TraceKind::kForward, 1, 1, 0, 0, 0, 1},
                              {TraceKind::kReduce, 1, 1, -1, 0, 0, 1},
                              {TraceKind::kOptimizer, 1, 1, -1, 0, 0, 1, true},
                              {TraceKind::kOptimizer, 1, 1, -1, 0, 1, 2}});
  std::vector<int> rows;
  std::map<int, std::string> names;
  for (const json& event : trace.at("traceEvents")) {
    if (event.at("ph") == "X") rows.push_back(event.at("tid"));
    if (event.at("name") == "thread_name") names[event.at("tid")] = event.at("args").at("name");
  }
  ASSERT_EQ(rows.size(), 4u);
  EXPECT_EQ(rows[0], 1);
  EXPECT_EQ(rows[1], rows[2]);
  EXPECT_NE(rows[1], 1);
  EXPECT_EQ(rows[3], 1);
  EXPECT_EQ(names[rows[1]], "rank 1: optimizer, sum over replicas");
}

TEST_F(Trace, NoEvents) {
  EXPECT_EQ(written({}).at("traceEvents").size(), 1U);
}

TEST_F(Trace, ManyEvents) {
  std::vector<TraceEvent> events;
  for (int i = 0; i < 50000; ++i) {
    events.push_back(
        {TraceKind::kBackwardInput, i % 4, i % 4, i, i / 100, i * 1e-3, i * 1e-3 + 1e-4});
  }
  const json trace = written(events);
  const json& all = trace.at("traceEvents");
  ASSERT_EQ(all.size(), events.size() + 9);  // and the names of the process and of four rows
  EXPECT_EQ(all.back().at("args").at("micro_batch"), 49999);
  EXPECT_DOUBLE_EQ(all.back().at("ts"), 49999e3);
}

TEST_F(Trace, FileThatCannotBeWritten) {
  const fs::path file = folder_ / "missing" / "trace.json";
  const std::string error = error_of([&] { write_chrome_trace(file, {}, "a run"); });
  EXPECT_NE(error.find(file.string()), std::string::npos) << error;
}

TEST_F(Trace, NothingHalfWritten) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const fs::path file = folder_ / "trace.json";
  EXPECT_THROW(write_chrome_trace(file, {{TraceKind::kForward, 0, 0, 0, 0, 0, nan}}, "a run"),
               Error);
  EXPECT_TRUE(fs::is_empty(folder_));
}

SimulationCosts unit_costs(int stages) {
  return {std::vector<StageCosts>(static_cast<std::size_t>(stages)), 0, 0};
}

TEST_F(Trace, Counters) {
  const Schedule schedule = gpipe_schedule(1, 2);
  SimulationCosts costs = unit_costs(1);
  costs.stages[0].slot_bytes = 100;
  const Simulation simulation = simulate(check(schedule), costs, BufferLimit::kPlanned);
  const std::vector<TraceCounter> counters = slot_counters(check(schedule), simulation, costs);
  const fs::path file = folder_ / "trace.json";
  write_chrome_trace(file, {}, "", counters);
  std::ifstream stream(file);
  std::string slots, bytes;  // F0 and F1 take one each, BW0 and BW1 two of time
  const json trace = json::parse(stream);
  for (const json& event : trace.at("traceEvents")) {
    if (event.at("ph") != "C") continue;
    if (event.at("name") == "slots, rank 0") {
      slots += event.at("args").at("slots").dump() + "@" + event.at("ts").dump() + " ";
    }
    if (event.at("name") == "slot bytes, rank 0") {
      bytes += event.at("args").at("slot bytes").dump() + " ";
    }
  }
  EXPECT_EQ(slots, "1@0.0 2@1000000.0 1@4000000.0 0@6000000.0 ");
  EXPECT_EQ(bytes, "100 200 100 0 ");
  EXPECT_EQ(slot_counters(check(schedule), simulation, unit_costs(1)).size(), 4u);  // without bytes
}

// F keeps nothing where there is an R, and nothing at all where nothing is trained.
TEST_F(Trace, CountersOfRecomputation) {
  const auto peak = [](const Schedule& schedule) {
    const SimulationCosts costs = unit_costs(schedule.stages);
    double most = 0, last = -1;
    for (const TraceCounter& counter : slot_counters(
             check(schedule), simulate(check(schedule), costs, BufferLimit::kPlanned), costs)) {
      most = std::max(most, counter.value);
      last = counter.value;
    }
    EXPECT_EQ(last, 0);
    return most;
  };
  EXPECT_EQ(peak(gpipe_schedule(2, 4)), 4);
  EXPECT_EQ(peak(with_recompute(gpipe_schedule(2, 4), Recompute::kAlways)), 1);
  EXPECT_EQ(peak(forward_only_schedule(2, 4)), 1);
}

TEST_F(Trace, TimelineInOnePiece) {
  const Schedule schedule = gpipe_schedule(2, 2);
  const Timeline timeline =
      timeline_of(simulate(check(schedule), unit_costs(2), BufferLimit::kPlanned), "predicted");
  ASSERT_EQ(timeline.events.size(), 8U);
  EXPECT_EQ(timeline.events.back().kind, TraceKind::kBackward);
  EXPECT_EQ(timeline.events.back().end - timeline.events.back().start, 2);
}

TEST_F(Trace, TimelineOfSimulation) {
  const Schedule schedule = with_communication(gpipe_schedule(2, 2));
  const SimulationCosts costs = unit_costs(2);
  const Timeline timeline =
      timeline_of(simulate(check(schedule), costs, BufferLimit::kPlanned), costs, "predicted");
  EXPECT_EQ(timeline.title, "predicted");
  EXPECT_EQ(timeline.ranks, 2);
  ASSERT_EQ(timeline.events.size(), 12U);  // sends and receives take no time and are left out
  EXPECT_EQ(timeline.events[0].kind, TraceKind::kForward);
  const TraceEvent& last = timeline.events.back();
  EXPECT_EQ(last.kind, TraceKind::kBackwardWeight);
  EXPECT_EQ(last.rank, 1);
  EXPECT_EQ(last.stage, 1);
  EXPECT_EQ(last.micro_batch, 1);
  EXPECT_EQ(last.end, 7);  // F0 at 1, F1, B0, W0, B1, W1
}

TEST(TraceKind, Names) {
  EXPECT_EQ(name_of(TraceKind::kForward), "F");
  EXPECT_EQ(name_of(TraceKind::kBackwardInput), "B");
  EXPECT_EQ(name_of(TraceKind::kBackwardWeight), "W");
  EXPECT_EQ(name_of(TraceKind::kBackward), "BW");
  EXPECT_EQ(name_of(TraceKind::kRecompute), "R");
  EXPECT_EQ(name_of(TraceKind::kSend), "send");
  EXPECT_EQ(name_of(TraceKind::kReceive), "receive");
  EXPECT_EQ(name_of(TraceKind::kWait), "wait");
  EXPECT_EQ(name_of(TraceKind::kOptimizer), "optimizer");
}

}  // namespace
}  // namespace stagecoach
