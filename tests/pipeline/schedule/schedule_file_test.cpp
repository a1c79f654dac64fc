#include "pipeline/schedule/schedule_file.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <set>
#include <utility>

#include "core/error.h"
#include "pipeline/schedule/check.h"
#include "pipeline/schedule/csv.h"
#include "pipeline/schedule/generators.h"
#include "pipeline/schedule/placement.h"
#include "pipeline/schedule/simulate.h"
#include "pipeline/schedule/text.h"
#include "tests/pipeline/schedule/table_text.h"
#include "tests/proportional_time.h"

namespace stagecoach {
namespace {

namespace fs = std::filesystem;
using enum ActionKind;

const fs::path kFixtures = fs::path(STAGECOACH_TEST_DATA) / "schedules";

std::string text_error(std::string_view text) {
  return error_of([&] { check(schedule_from_text(text, "t")); });
}
std::string csv_error(std::string_view text) {
  return error_of([&] { check(schedule_from_csv(text, "t.csv")); });
}
std::string read_error(const fs::path& file) {
  return error_of([&] { read_schedule(file); });
}

void expect_same_table(const Schedule& one, const Schedule& other) {
  EXPECT_EQ(one.stages, other.stages);
  EXPECT_EQ(one.micro_batches, other.micro_batches);
  EXPECT_EQ(one.to_text(), other.to_text());
  EXPECT_EQ(one.ranks, other.ranks);
}

// A file that goes at the end.
class TemporaryFile {
 public:
  TemporaryFile(const std::string& name, std::string_view text)
      : path_(fs::temp_directory_path() / fmt::format("stagecoach{}{}", ::getpid(), name)) {
    std::ofstream(path_, std::ios::binary) << text;
  }
  ~TemporaryFile() {
    std::error_code ignored;
    fs::remove(path_, ignored);
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

struct Fixture {
  const char* name;
  int ranks, chunks, micro_batches;
  bool v;  // otherwise stages loop over the ranks
  std::string file(const char* ending) const { return (kFixtures / name).string() + ending; }
};
constexpr Fixture kPyTorch[] = {
    {"interleaved_k2_v2_m4", 2, 2, 4, false},
    {"interleaved_k4_v2_m8", 4, 2, 8, false},
    {"interleaved_k2_v3_m4", 2, 3, 4, false},
    {"interleaved_zb_k2_v2_m4", 2, 2, 4, false},
    {"interleaved_zb_k4_v2_m8", 4, 2, 8, false},
    {"zb_v_k2_v2_m4", 2, 2, 4, true},
    {"zb_v_k4_v2_m8", 4, 2, 8, true},
    {"looped_bfs_k2_v2_m4", 2, 2, 4, false},  // its backwards come in descending order
    {"dualpipe_v_k2_v2_m5", 2, 2, 5, true},
    {"dualpipe_v_k4_v2_m10", 4, 2, 10, true},
};

std::vector<Action> computes_of(const std::vector<Action>& actions) {
  std::vector<Action> computes;
  std::ranges::copy_if(actions, std::back_inserter(computes),
                       [](const Action& action) { return is_compute(action.kind); });
  return computes;
}

TEST(PyTorchFiles, PassTheCheckAndKeepTheirPlacement) {
  std::set<std::string> covered;
  for (const Fixture& fixture : kPyTorch) {
    SCOPED_TRACE(fixture.name);
    for (const char* ending : {".csv", "_comms.csv"}) {
      const Schedule schedule = read_schedule(fixture.file(ending));
      EXPECT_EQ(schedule.name, std::string(fixture.name) + ending);
      EXPECT_EQ(schedule.stages, fixture.ranks * fixture.chunks);
      EXPECT_EQ(schedule.micro_batches, fixture.micro_batches);
      EXPECT_NO_THROW(check(schedule, {.order = WeightOrder::kAny}));
      EXPECT_EQ(has_communication(schedule), std::string_view(ending) != ".csv");
      std::vector<int> expected_ranks, expected_lines;
      for (int stage = 0; stage < schedule.stages; ++stage) {
        const int back = 2 * fixture.ranks - 1 - stage;
        expected_ranks.push_back(fixture.v ? std::min(stage, back) : stage % fixture.ranks);
      }
      for (int line = 1; line <= fixture.ranks; ++line) expected_lines.push_back(line);
      EXPECT_EQ(Placement(schedule).ranks(), expected_ranks);
      EXPECT_EQ(schedule.lines, expected_lines);
      covered.insert(schedule.name);
    }
  }
  std::set<std::string> files;
  for (const auto& entry : fs::directory_iterator(kFixtures)) {
    files.insert(entry.path().filename().string());
  }
  EXPECT_EQ(covered, files);
}

TEST(PyTorchFiles, BothFormsAreTheSameSchedule) {
  for (const Fixture& fixture : kPyTorch) {
    SCOPED_TRACE(fixture.name);
    const Schedule compute = read_schedule(fixture.file(".csv"));
    const Schedule comms = read_schedule(fixture.file("_comms.csv"));
    for (std::size_t rank = 0; rank < compute.ranks.size(); ++rank) {
      EXPECT_EQ(computes_of(comms.ranks[rank]), compute.ranks[rank]);
    }
    SimulationCosts costs;
    costs.stages.assign(static_cast<std::size_t>(compute.stages), {1, 1.125, 0.75});
    for (const double latency : {0.0, 0.3}) {
      costs.latency = latency;
      const double expected =
          simulate(check(compute, {.order = WeightOrder::kAny}), costs, BufferLimit::kPlanned)
              .makespan;
      EXPECT_DOUBLE_EQ(
          simulate(check(comms, {.order = WeightOrder::kAny}), costs, BufferLimit::kPlanned)
              .makespan,
          expected);
      const Schedule ours = with_communication(compute);
      EXPECT_DOUBLE_EQ(
          simulate(check(ours, {.order = WeightOrder::kAny}), costs, BufferLimit::kPlanned)
              .makespan,
          expected);
    }
  }
}

// Its gradients would be added in another order than every other schedule's.
TEST(PyTorchFiles, LoopedBfsMustNotTrain) {
  for (const auto& [ending, position] : {std::pair{".csv", 9}, std::pair{"_comms.csv", 24}}) {
    const Schedule schedule = read_schedule((kFixtures / "looped_bfs_k2_v2_m4").string() + ending);
    EXPECT_EQ(error_of([&] { check(schedule); }),
              fmt::format("check: expected W of stage 2 in the order of micro-batches, got line 1, "
                          "rank 0, position {}: 2BW2 after 2W3",
                          position));
  }
}

TEST(PyTorchFiles, NotesSayWhatIsLeftOut) {
  std::vector<std::string> notes;
  read_schedule(kFixtures / "dualpipe_v_k2_v2_m5_comms.csv", &notes);
  EXPECT_EQ(notes, (std::vector<std::string>{
                       "4 UNSHARD and 4 RESHARD do nothing here: weights are not sharded",
                       "10 WAIT_SEND_F and 10 WAIT_SEND_B do nothing here: a buffer is free once "
                       "its message has been read",
                       "4 WAIT_REDUCE_GRAD do nothing here: nothing runs beside REDUCE_GRAD",
                       "10 OVERLAP_F_B run one part after the other"}));
  notes.clear();
  read_schedule(kFixtures / "zb_v_k2_v2_m4.csv", &notes);
  EXPECT_TRUE(notes.empty());
}

TEST(Csv, LettersOfPyTorch) {
  const Schedule schedule = schedule_from_csv(
      "0UNSHARD,0F0,0SEND_F0,0RECV_B0,0I0,,0W0,0REDUCE_GRAD,0WAIT_REDUCE_GRAD,0RESHARD\n"
      "1RECV_F0,1F0,1B0,1SEND_B0,1REDUCE_GRAD0,1WAIT_SEND_B0\n",
      "t.csv");
  expect_same_table(schedule, table(2, 1,
                                    {"0F0 0SEND_F0 0RECV_B0 0B0 0W0 0REDUCE_GRAD",
                                     "1RECV_F0 1F0 1BW0 1SEND_B0 1REDUCE_GRAD"}));
  EXPECT_NO_THROW(check(schedule, {.order = WeightOrder::kAny}));
}

TEST(Csv, WhatOtherProgramsMakeOfIt) {
  const Schedule expected = table(2, 1, {"0F0 0BW0", "1F0 1BW0"});
  for (const char* text : {
           "0F0,0B0\n1F0,1B0\n",
           "0F0,0B0\n1F0,1B0",                     // no end of the last line
           "0F0,0B0\r\n1F0,1B0\r\n",               // as csv.writer ends lines
           "0F0,,0B0,,,\n,1F0,1B0,\n",             // empty cells
           " 0F0 , 0B0 \n\t1F0,1B0\n",             // blanks
           "\"0F0\",\"0B0\",\"\"\n\"1F0\",1B0\n",  // quotes
           "\xef\xbb\xbf"
           "0F0,0B0\n1F0,1B0\n",  // a byte order mark
       }) {
    SCOPED_TRACE(text);
    expect_same_table(schedule_from_csv(text, "t.csv"), expected);
  }
}

TEST(Csv, SendsOfAnOverlapFollowTheirParts) {
  // Only those right behind it: what 0SEND_F2 sends is not its part's.
  expect_same_table(
      schedule_from_csv(
          "(0F1; 1B0)OVERLAP_F_B,0RECV_B0,0SEND_F1,1SEND_B0,0SEND_F2\n"
          "(0F0;1I0)OVERLAP_F_B,1W0,0SEND_F0,(1F1)OVERLAP_F_B,(1F2;0B2;1F3)OVERLAP_F_B\n",
          "t.csv"),
      table(2, 4,
            {"0F1 0SEND_F1 1BW0 1SEND_B0 0RECV_B0 0SEND_F2",
             "0F0 1B0 1W0 0SEND_F0 1F1 1F2 0BW2 1F3"}));
}

TEST(Csv, ReadsWhatItWrote) {
  for (const std::string& name : schedule_names()) {
    for (const auto& [ranks, micro_batches] : {std::pair{2, 4}, std::pair{4, 8}}) {
      SCOPED_TRACE(fmt::format("{} {} {}", name, ranks, micro_batches));
      const Schedule compute = make_schedule(name, ranks, micro_batches);
      expect_same_table(schedule_from_csv(to_csv(compute), "t.csv"), compute);
      expect_same_table(schedule_from_csv(to_csv(with_optimizer_steps(compute)), "t.csv"), compute);
      const Schedule comms = with_communication(compute);
      Schedule again = schedule_from_csv(to_csv(with_optimizer_steps(comms)), "t.csv");
      EXPECT_NO_THROW(check(again));
      for (std::vector<Action>& actions : again.ranks) {
        EXPECT_EQ(std::ranges::count(actions, kReduceGradient, &Action::kind),
                  compute.stages / ranks);
        std::erase_if(actions, [](const Action& a) { return a.kind == kReduceGradient; });
      }
      expect_same_table(again, comms);
    }
  }
}

TEST(Csv, WritesPyTorchsForm) {
  EXPECT_EQ(to_csv(table(1, 2, {"0F0 0F1 0B0 0W0 0BW1 0REDUCE_GRAD 0STEP"})),
            "0F0,0F1,0I0,0W0,0B1\n");
  EXPECT_EQ(to_csv(with_communication(table(2, 1, {"0F0 0BW0 0STEP", "1F0 1B0 1W0 1STEP"}))),
            "0F0,0SEND_F0,0RECV_B0,0B0,0REDUCE_GRAD,0WAIT_REDUCE_GRAD,0WAIT_SEND_F0\n"
            "1RECV_F0,1F0,1I0,1SEND_B0,1W0,1REDUCE_GRAD,1WAIT_REDUCE_GRAD,1WAIT_SEND_B0\n");
}

TEST(Csv, WritesNothingThatPyTorchDoesNotLoad) {
  EXPECT_EQ(error_of([] { to_csv(with_recompute(gpipe_schedule(2, 2), Recompute::kAlways)); }),
            "to_csv: expected a schedule without R, got 'gpipe' with 0R0; PyTorch's form has none: "
            "write the table without recomputation, or as text");
  EXPECT_EQ(error_of([] { to_csv(forwards_of(gpipe_schedule(2, 2))); }),
            "to_csv: expected a schedule that trains, got 'forward-only', forward-only; PyTorch "
            "loads no other");
}

TEST(Text, RoundTrips) {
  std::vector<Schedule> schedules = {table(2, 1,
                                           {"0F0 0SEND_F0 0RECV_B0 0R0 0B0 0W0 0REDUCE_GRAD 0STEP",
                                            "1RECV_F0 1F0 1BW0 1SEND_B0 1REDUCE_GRAD 1STEP"})};
  for (const std::string& name : schedule_names()) {
    schedules.push_back(make_schedule(name, 3, 6));
    schedules.push_back(with_optimizer_steps(
        with_communication(with_recompute(schedules.back(), Recompute::kExceptLast))));
    schedules.push_back(forwards_of(schedules.back()));
  }
  for (const Schedule& schedule : schedules) {
    SCOPED_TRACE(schedule.to_text());
    const Schedule again = schedule_from_text(schedule.to_text(), "again");
    expect_same_table(again, schedule);
    EXPECT_EQ(again.name, "again");
    EXPECT_EQ(again.lines.size(), schedule.ranks.size());
  }
}

TEST(Text, LabelsAndComments) {
  const Schedule schedule = schedule_from_text(
      "# two ranks\n\n rank 0: 0F0\t0BW0  # the first\r\n   \nrank 1:1F0 1BW0#the last", "t");
  expect_same_table(schedule, table(2, 1, {"0F0 0BW0", "1F0 1BW0"}));
  EXPECT_EQ(schedule.lines, (std::vector<int>{3, 5}));
}

TEST(Text, TheCheckNamesTheLine) {
  const std::string first = "# V\n0F0 0F1 0BW0 0BW1\n";
  EXPECT_EQ(
      text_error(first + "\n1F0 1F1 1BW0 1BW0"),
      "check: expected every action once, got line 4, rank 1, position 3: 1BW0 a second time");
  EXPECT_EQ(
      text_error(first + "1F0 0F1 1BW0 1BW1"),
      "check: expected micro-batches 1 to 1 of stage 0 on rank 1, as it is on ranks 0, 1, got "
      "line 2, rank 0, position 1: 0F1");
  EXPECT_EQ(
      text_error("0F0 0SEND_F0 0BW0\n1RECV_F0 1F0 1BW0 1SEND_B0"),
      "check: expected 0RECV_B0 before 0BW0, got line 1, rank 0, position 2: 0BW0, and a table "
      "without it");
  EXPECT_EQ(text_error("0F0 0SEND_F0 0RECV_B0 0BW0\n1F0 1BW0 1SEND_B0"),
            "check: expected 1RECV_F0 before 1F0, got line 2, rank 1, position 0: 1F0, and a table "
            "without it");
  EXPECT_EQ(text_error("0F0 0RECV_B0 0BW0\n1RECV_F0 1F0 1BW0 1SEND_B0"),
            "check: expected 0SEND_F0 on rank 0, got line 1 without it");
  EXPECT_EQ(text_error("0F0 1BW0 0BW0 1F0"),
            "check: expected 1F0 before 1BW0, got line 1, rank 0, position 1: 1BW0, and that after "
            "it");
}

constexpr const char* kKinds = "F, B, W, BW, R, SEND_F, RECV_F, SEND_B, RECV_B, REDUCE_GRAD, STEP";
constexpr const char* kCsvKinds =
    "F, I, W, B, SEND_F, RECV_F, SEND_B, RECV_B, REDUCE_GRAD, UNSHARD, RESHARD, WAIT_SEND_F, "
    "WAIT_SEND_B, WAIT_REDUCE_GRAD, OVERLAP_F_B";

TEST(Text, WordsThatAreNoActions) {
  const auto no_action = [](const std::string& shown) {
    return "read_schedule: expected an action, a stage, a kind and a micro-batch such as 0F3, got "
           "t, line 2, rank 1, word 2: " +
           shown;
  };
  const auto error = [](std::string_view word) {
    return text_error("0F0 0BW0\n1F0 " + std::string(word) + " 1BW0");
  };
  EXPECT_EQ(error("hello"), no_action("'hello'"));
  EXPECT_EQ(error("F0"), no_action("'F0'"));
  EXPECT_EQ(error("17"), no_action("'17'"));
  EXPECT_EQ(error("-1F0"), no_action("'-1F0'"));
  EXPECT_EQ(error({"\0\x7f\xff", 3}), no_action("'\\x00\\x7f\\xff'"));
  EXPECT_EQ(error(std::string(50, 'x')), no_action("'" + std::string(40, 'x') + "...'"));
  EXPECT_EQ(error("1F"),
            "read_schedule: expected a micro-batch after F, got t, line 2, rank 1, word 2: '1F'");
  EXPECT_EQ(error("1STEP0"),
            "read_schedule: expected no micro-batch after STEP, got t, line 2, rank 1, word 2: "
            "'1STEP0'");
  EXPECT_EQ(error("1X0"),
            fmt::format("read_schedule: expected a kind among {}, got t, line 2, rank "
                        "1, word 2: '1X0'",
                        kKinds));
  EXPECT_EQ(error("1F0,1B0"), fmt::format("read_schedule: expected a kind among {}, got t, line 2, "
                                          "rank 1, word 2: '1F0,1B0'",
                                          kKinds));
  EXPECT_EQ(error("1I0"),
            fmt::format("read_schedule: expected a kind among {}, got t, line 2, rank "
                        "1, word 2: '1I0'; PyTorch's I is B here, and its B is BW: "
                        "end the file's name in .csv",
                        kKinds));
}

TEST(Text, LabelsOutOfOrder) {
  EXPECT_EQ(text_error("rank 0: 0F0\nrank 2: 1F0"),
            "read_schedule: expected 'rank 1:' or its first action, got t, line 2: 'rank 2: 1F0'; "
            "ranks come in order, from 0, each on one line");
  EXPECT_EQ(text_error("rank 0 0F0"),
            "read_schedule: expected 'rank 0:' or its first action, got t, line 1: 'rank 0 0F0'; "
            "ranks come in order, from 0, each on one line");
  EXPECT_EQ(text_error("rank 0:"),
            "read_schedule: expected an action for rank 0, got t, line 1, without one");
}

TEST(Csv, CellsThatAreNoActions) {
  EXPECT_EQ(csv_error("0F0,0R0\n"),
            fmt::format("read_schedule: expected a kind among {}, got t.csv, line 1, rank 0, cell "
                        "2: '0R0'",
                        kCsvKinds));
  EXPECT_EQ(csv_error("0F0,\"0B0\n"),
            "read_schedule: expected an action, a stage, a kind and a micro-batch such as 0F3, got "
            "t.csv, line 1, rank 0, cell 2: '\"0B0'");
  EXPECT_EQ(csv_error("0F0,0B0\n\n"),
            "read_schedule: expected an action for rank 1, got t.csv, line 2, without one; every "
            "line is a rank; remove it if it is none");
}

TEST(Csv, OverlapsThatAreNone) {
  const auto error = [](const std::string& cell) { return csv_error("0F0,," + cell + "\n"); };
  const std::string place = ", got t.csv, line 1, rank 0, cell 3: ";
  for (const char* cell :
       {"(0F1;0B0OVERLAP_F_B", "(0F1;0B0)OVERLAP", "((0F1;0B0))OVERLAP_F_B", "("}) {
    EXPECT_EQ(
        error(cell),
        fmt::format("read_schedule: expected (0F1;1B0)OVERLAP_F_B after '('{}'{}'", place, cell));
  }
  EXPECT_EQ(error("()OVERLAP_F_B"),
            "read_schedule: expected an action in OVERLAP_F_B" + place + "'()OVERLAP_F_B'");
  EXPECT_EQ(error("(0F1;0SEND_F0)OVERLAP_F_B"),
            "read_schedule: expected F, I, W or B in OVERLAP_F_B" + place +
                "'(0F1;0SEND_F0)OVERLAP_F_B'");
  EXPECT_EQ(error("0F1;0B0)OVERLAP_F_B"), fmt::format("read_schedule: expected a kind among {}{}{}",
                                                      kCsvKinds, place, "'0F1;0B0)OVERLAP_F_B'"));
}

TEST(Text, NumbersOutOfAllProportion) {
  EXPECT_EQ(
      text_error("0F0 0BW0\n1000000000F0 1BW0"),
      "read_schedule: expected at least 1000000001 actions, an F of each of 1 micro-batches on "
      "each of 1000000001 stages, got t, with 4; are its highest numbers right? Stage "
      "1000000000 in line 2, rank 1, position 0: 1000000000F0; micro-batch 0 in line 1, rank "
      "0, position 0: 0F0");
  EXPECT_EQ(text_error("0F2147483646 2147483646F0"),
            "read_schedule: expected at least 4611686014132420609 actions, an F of each of "
            "2147483647 micro-batches on each of 2147483647 stages, got t, with 2; are its highest "
            "numbers right? Stage 2147483646 in line 1, rank 0, position 1: 2147483646F0; "
            "micro-batch 2147483646 in line 1, rank 0, position 0: 0F2147483646");
  for (const char* word : {"0F2147483647", "0F99999999999999999999", "2147483647F0"}) {
    EXPECT_EQ(
        text_error(word),
        fmt::format("read_schedule: expected a number below 2147483647, got t, line 1, rank 0, "
                    "word 1: '{}'",
                    word));
  }
}

TEST(Text, EmptyFiles) {
  for (const char* text : {"", "\n\n", "# nothing\n", "\xef\xbb\xbf"}) {
    EXPECT_EQ(text_error(text),
              "read_schedule: expected a line of actions for every rank, got t, with none");
  }
  EXPECT_EQ(csv_error(""),
            "read_schedule: expected a line of actions for every rank, got t.csv, with none");
}

TEST(Files, TheNameDecidesTheForm) {
  const TemporaryFile text("table.txt", "0F0 0B0 0W0\n"), csv("table.csv", "0F0,0B0\r\n");
  const Schedule of_text = read_schedule(text.path()), of_csv = read_schedule(csv.path());
  expect_same_table(of_text, table(1, 1, {"0F0 0B0 0W0"}));
  expect_same_table(of_csv, table(1, 1, {"0F0 0BW0"}));
  EXPECT_EQ(of_text.name, text.path().filename().string());
  const TemporaryFile wrong("wrong.txt", "0F0 0X0");
  EXPECT_EQ(read_error(wrong.path()),
            fmt::format("read_schedule: expected a kind among {}, got {}, line 1, rank 0, word 2: "
                        "'0X0'",
                        kKinds, wrong.path().string()));
}

// Excel's "CSV (Macintosh)" ends lines with CR alone.
TEST(Files, LinesMayEndInThreeWays) {
  const std::vector<std::string> lines = {"0F0,0F1,,0B0,0B1", "", "1F0,1B0,1F1,1B1"};
  std::vector<Schedule> read;
  for (const std::string end : {"\n", "\r\n", "\r"}) {
    const std::string text = lines[0] + end + lines[2] + end;
    read.push_back(schedule_from_csv(text, "table.csv"));
    ASSERT_EQ(read.back().ranks.size(), 2u) << text;
    EXPECT_EQ(read.back().ranks, read.front().ranks);
    EXPECT_EQ(read.back().lines, read.front().lines);
    EXPECT_EQ(schedule_from_text("0F0" + end + "1F0" + end + end, "table").ranks.size(), 2u);
  }
}

TEST(Files, AnOverlapHasAFewActions) {
  const auto error = [](const std::string& text) {
    return error_of([&] { schedule_from_csv(text, "table.csv"); });
  };
  std::string many = "(0F0";
  for (int i = 1; i < 17; ++i) many += fmt::format(";0F{}", i);
  EXPECT_NE(error(many + ")OVERLAP_F_B").find("at most 16 actions in OVERLAP_F_B"),
            std::string::npos);
  // Time in proportion, though each send looks at what is behind the overlap.
  testing::expect_time_in_proportion(300'000, [](std::int64_t sends) {
    std::string text = "(0F0;0B1)OVERLAP_F_B";
    for (std::int64_t i = 0; i < sends; ++i) text += ",0SEND_F0";
    EXPECT_EQ(std::ssize(schedule_from_csv(text, "table.csv").ranks[0]), sends + 2);
  });
}

TEST(Files, ThatCannotBeRead) {
  EXPECT_EQ(read_error("/no/such.csv"),
            "read_schedule: expected the file '/no/such.csv', got no such file");
  EXPECT_EQ(read_error("/tmp"), "read_schedule: expected a file, got the folder '/tmp'");
  EXPECT_EQ(read_error("/dev/zero"),
            "read_schedule: expected a regular file, got '/dev/zero', which is a device or a pipe");
  const TemporaryFile large("large.csv", "0F0");
  fs::resize_file(large.path(), (std::uintmax_t{1} << 30) + 1);  // a hole: it takes no space
  EXPECT_EQ(
      read_error(large.path()),
      fmt::format("read_schedule: expected '{}' of at most 1073741824 bytes, got 1073741825 bytes",
                  large.path().string()));
  const TemporaryFile locked("locked.csv", "0F0");
  fs::permissions(locked.path(), fs::perms::none);
  if (::access(locked.path().c_str(), R_OK) == 0) GTEST_SKIP() << "root may read everything";
  EXPECT_EQ(read_error(locked.path()),
            fmt::format("read_schedule: expected to read '{}', got Permission denied",
                        locked.path().string()));
}

}  // namespace
}  // namespace stagecoach
