// The tables of pipeline/schedule/generators against their papers: order, buffers and bubble.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "core/error.h"
#include "pipeline/schedule/check.h"
#include "pipeline/schedule/formula.h"
#include "pipeline/schedule/generators.h"
#include "pipeline/schedule/placement.h"
#include "pipeline/schedule/simulate.h"
#include "tests/pipeline/schedule/table_text.h"

namespace stagecoach {
namespace {

// Every stage the same, without communication.
Simulation simulated(const Schedule& schedule, const StageCosts& costs = {}) {
  SimulationCosts all;
  all.stages.assign(static_cast<std::size_t>(schedule.stages), costs);
  return simulate(check(schedule), all, BufferLimit::kPlanned, false);
}

std::string name_of_case(const Schedule& schedule) {
  return fmt::format("{}, {} ranks, {} stages, {} micro-batches", schedule.name,
                     schedule.ranks.size(), schedule.stages, schedule.micro_batches);
}

// What check() says of the table and of the same with communication.
BufferCounts checked(const Schedule& schedule) {
  const BufferCounts buffers = check(schedule).buffers();
  const BufferCounts full = check(with_communication(schedule)).buffers();
  EXPECT_EQ(buffers.slots, full.slots) << name_of_case(schedule);
  EXPECT_NO_THROW(check(with_communication(schedule), {.buffers = full})) << name_of_case(schedule);
  return buffers;
}

template <typename Test>
void for_sizes_up_to_16(Test test) {
  for (int ranks = 1; ranks <= 16; ++ranks) {
    for (int micro_batches = 1; micro_batches <= 16; ++micro_batches) test(ranks, micro_batches);
  }
}

TEST(Generators, InterleavedTables) {
  EXPECT_EQ(interleaved_schedule(1, 2, 2).to_text(), "0F0 1F0 1BW0 0F1 0BW0 1F1 1BW1 0BW1\n");
  // One group of fewer micro-batches than ranks: each still finds its way.
  EXPECT_EQ(interleaved_schedule(2, 1, 2).to_text(),
            "0F0 2F0 2BW0 0BW0\n"
            "1F0 3F0 3BW0 1BW0\n");
  // Drawn in interleaved.cpp.
  EXPECT_EQ(interleaved_schedule(2, 4, 2).to_text(),
            "0F0 0F1 2F0 2F1 0F2 2BW0 0F3 2BW1 2F2 0BW0 2F3 0BW1 2BW2 2BW3 0BW2 0BW3\n"
            "1F0 1F1 3F0 3BW0 3F1 3BW1 1F2 1BW0 1F3 1BW1 3F2 3BW2 3F3 3BW3 1BW2 1BW3\n");
  // Groups of three and two.
  EXPECT_EQ(interleaved_schedule(2, 5, 2).to_text(),
            "0F0 0F1 0F2 2F0 2F1 2F2 2BW0 0F3 2BW1 0F4"
            " 2BW2 2F3 0BW0 2F4 0BW1 0BW2 2BW3 2BW4 0BW3 0BW4\n"
            "1F0 1F1 1F2 3F0 3BW0 3F1 3BW1 3F2 3BW2 1F3"
            " 1BW0 1F4 1BW1 3F3 1BW2 3F4 3BW3 3BW4 1BW3 1BW4\n");
}

TEST(Generators, ZbH1Tables) {
  EXPECT_EQ(zb_h1_schedule(1, 2).to_text(), "0F0 0B0 0W0 0F1 0B1 0W1\n");
  EXPECT_EQ(zb_h1_schedule(3, 1).to_text(), "0F0 0B0 0W0\n1F0 1B0 1W0\n2F0 2B0 2W0\n");
  // Drawn in zb_h1.cpp.
  EXPECT_EQ(zb_h1_schedule(3, 4).to_text(),
            "0F0 0F1 0F2 0B0 0W0 0F3 0B1 0W1 0B2 0W2 0B3 0W3\n"
            "1F0 1F1 1B0 1F2 1B1 1W0 1F3 1B2 1W1 1B3 1W2 1W3\n"
            "2F0 2B0 2F1 2B1 2F2 2B2 2W0 2F3 2B3 2W1 2W2 2W3\n");
}

TEST(Generators, ZbVTables) {
  EXPECT_EQ(zb_v_schedule(1, 2).to_text(), "0F0 1F0 1B0 1W0 0F1 0B0 0W0 1F1 1B1 1W1 0B1 0W1\n");
  EXPECT_EQ(zb_v_schedule(2, 1).to_text(),
            "0F0 3F0 3B0 3W0 0B0 0W0\n"
            "1F0 2F0 2B0 2W0 1B0 1W0\n");
  EXPECT_EQ(zb_v_schedule(2, 2).to_text(),
            "0F0 0F1 3F0 3B0 3W0 3F1 3B1 3W1 0B0 0W0 0B1 0W1\n"
            "1F0 2F0 1F1 2F1 2B0 2W0 1B0 2B1 1B1 1W0 2W1 1W1\n");
  // Drawn in zb_v.cpp.
  EXPECT_EQ(zb_v_schedule(2, 4).to_text(),
            "0F0 0F1 0F2 3F0 3B0 3W0 3F1 3B1 3W1 0F3 0B0 0W0"
            " 3F2 3B2 3W2 0B1 0W1 3F3 3B3 3W3 0B2 0W2 0B3 0W3\n"
            "1F0 2F0 1F1 2F1 2B0 2W0 1F2 1B0 1W0 2F2 2B1 2W1"
            " 1F3 1B1 1W1 2F3 2B2 2W2 1B2 2B3 1B3 1W2 2W3 1W3\n");
}

TEST(Generators, DualPipeVTables) {
  EXPECT_EQ(dualpipe_v_schedule(1, 2).to_text(), "0F0 1F0 0F1 1BW0 1F1 0BW0 1BW1 0B1 0W1\n");
  // Drawn in dualpipe_v.cpp.
  EXPECT_EQ(dualpipe_v_schedule(2, 4).to_text(),
            "0F0 0F1 0F2 3F0 3B0 3W0 3F1 0F3 3BW1 3F2 0BW0 3BW2 3F3 0BW1 3BW3 0B2 0W2 0B3 0W3\n"
            "1F0 2F0 1F1 2F1 1F2 2BW0 2F2 1BW0 1F3 2BW1 2F3 1BW1 2BW2 1BW2 2B3 1B3 2W3 1W3\n");
  EXPECT_THROW(dualpipe_v_schedule(4, 7), UsageError);
  EXPECT_EQ(error_of([] { make_schedule("dualpipe-v", 4, 7); }),
            "dualpipe-v schedule: expected at least 8 micro-batches on 4 ranks, got 7; "
            "zb-v does with fewer");
}

TEST(Generators, StagesLoopOrFormAV) {
  EXPECT_EQ(Placement(interleaved_schedule(3, 3, 2)).ranks(), (std::vector<int>{0, 1, 2, 0, 1, 2}));
  EXPECT_EQ(Placement(zb_v_schedule(3, 3)).ranks(), (std::vector<int>{0, 1, 2, 2, 1, 0}));
  EXPECT_EQ(Placement(dualpipe_v_schedule(3, 6)).ranks(), (std::vector<int>{0, 1, 2, 2, 1, 0}));
}

TEST(Generators, SlotsOfOneStagePerRank) {
  for_sizes_up_to_16([](int ranks, int micro_batches) {
    const auto size = static_cast<std::size_t>(ranks);
    const auto slots = [&](const char* name) {
      return checked(make_schedule(name, ranks, micro_batches)).slots;
    };
    EXPECT_EQ(slots("naive"), std::vector<int>(size, 1));
    EXPECT_EQ(slots("gpipe"), std::vector<int>(size, micro_batches));
    EXPECT_EQ(slots("forward-only"), std::vector<int>(size, 1));
    EXPECT_EQ(slots("zb-h1"), std::vector<int>(size, std::min(ranks, micro_batches)));
    std::vector<int> one_f_one_b;
    for (int s = 0; s < ranks; ++s) one_f_one_b.push_back(std::min(ranks - s, micro_batches));
    EXPECT_EQ(slots("1f1b"), one_f_one_b);
  });
}

TEST(Generators, SlotsOfInterleaved) {
  for_sizes_up_to_16([](int ranks, int micro_batches) {
    EXPECT_EQ(interleaved_schedule(ranks, micro_batches, 1).ranks,
              one_f_one_b_schedule(ranks, micro_batches).ranks);
    for (int chunks = 1; chunks <= 4; ++chunks) {
      const Schedule schedule = interleaved_schedule(ranks, micro_batches, chunks);
      checked(schedule);
      if (micro_batches % ranks != 0 || chunks == 1) continue;
      const std::vector<int> peak = simulated(schedule).peak_slots;
      for (int s = 0; s < ranks; ++s) {
        EXPECT_EQ(peak[s],
                  std::min(2 * (ranks - s - 1) + (chunks - 1) * ranks + 1, chunks * micro_batches))
            << name_of_case(schedule);
      }
    }
  });
}

// Of both stages of a rank together: the buffers, and what is in use at once.
TEST(Generators, SlotsOfTheVs) {
  for_sizes_up_to_16([](int ranks, int micro_batches) {
    const Schedule zb_v = zb_v_schedule(ranks, micro_batches);
    const BufferCounts buffers = checked(zb_v);
    const std::vector<int> peak = simulated(zb_v).peak_slots;
    for (int s = 0; s < ranks; ++s) {
      EXPECT_LE(buffers.slots[s] + buffers.slots[2 * ranks - 1 - s], 2 * ranks + 1)
          << name_of_case(zb_v);
      EXPECT_LE(peak[s], std::min(2 * ranks, 2 * micro_batches)) << name_of_case(zb_v);
    }
    if (micro_batches < 2 * ranks) return;
    const Schedule dualpipe_v = dualpipe_v_schedule(ranks, micro_batches);
    checked(dualpipe_v);
    const std::vector<int> peak_of_pipes = simulated(dualpipe_v).peak_slots;
    EXPECT_EQ(peak_of_pipes, std::vector<int>(peak_of_pipes.size(), 2 * ranks + 1));
  });
}

// The closed forms, for all costs or where F = B = W, in every number of micro-batches for which
// textbook_bubble() gives one.
constexpr StageCosts kEven = {1, 1, 1}, kUneven = {2, 2, 1};

TEST(Generators, BubblesOfTheTextbook) {
  for (const int ranks : {1, 2, 3, 4, 8}) {
    for (int micro_batches = 1; micro_batches <= 32; ++micro_batches) {
      for (const std::string& name : schedule_names()) {
        if (name == "dualpipe-v" && micro_batches < 2 * ranks) continue;
        const Schedule schedule = make_schedule(name, ranks, micro_batches);
        const double formula = textbook_bubble(schedule);
        EXPECT_EQ(formula < 0, std::string(textbook_formula(schedule)).empty());
        if (formula < 0) continue;
        EXPECT_NEAR(simulated(schedule).bubble(), formula, 1e-12) << name_of_case(schedule);
        if (name == "zb-h1" || name == "zb-v" || name == "dualpipe-v") continue;
        EXPECT_NEAR(simulated(schedule, kUneven).bubble(), formula, 1e-12)
            << name_of_case(schedule);
      }
    }
  }
}

TEST(Generators, TextbookFormulas) {
  EXPECT_NEAR(textbook_bubble(gpipe_schedule(4, 8)), 3.0 / 11, 1e-15);
  EXPECT_NEAR(textbook_bubble(one_f_one_b_schedule(4, 8)), 3.0 / 11, 1e-15);
  EXPECT_NEAR(textbook_bubble(naive_schedule(4, 8)), 3.0 / 4, 1e-15);
  EXPECT_NEAR(textbook_bubble(forward_only_schedule(4, 8)), 3.0 / 11, 1e-15);
  EXPECT_NEAR(textbook_bubble(interleaved_schedule(4, 8, 3)), 3.0 / 27, 1e-15);
  EXPECT_NEAR(textbook_bubble(interleaved_schedule(4, 9, 3)), 3.0 / 30, 1e-15);
  EXPECT_NEAR(textbook_bubble(zb_h1_schedule(4, 8)), 3.0 / 27, 1e-15);
  EXPECT_NEAR(textbook_bubble(zb_v_schedule(4, 8)), 3.0 / 51, 1e-15);
  EXPECT_NEAR(textbook_bubble(dualpipe_v_schedule(4, 8)), 3.0 / 51, 1e-15);
  EXPECT_STREQ(textbook_formula(interleaved_schedule(4, 8, 3)), "(K-1)/(VM+K-1)");
  EXPECT_STREQ(textbook_formula(zb_v_schedule(4, 7)), "(K-1)/(6M+K-1)");
  // Too few micro-batches, and no formula at all.
  for (const Schedule& schedule : {interleaved_schedule(4, 3, 2), zb_h1_schedule(4, 3),
                                   zb_v_schedule(4, 6), table(1, 1, {"0F0 0BW0"})}) {
    EXPECT_EQ(textbook_bubble(schedule), -1) << name_of_case(schedule);
    EXPECT_STREQ(textbook_formula(schedule), "") << name_of_case(schedule);
  }
  EXPECT_EQ(textbook_bubble(Schedule{}), 0);
}

// Idle time per rank, of the makespan and of the longest span from a rank's first action to its
// last, in the closed forms of the papers for any F, B and W.
TEST(Generators, IdleTimesForUnequalCosts) {
  for (const StageCosts& c : {kEven, kUneven}) {
    const double f = c.forward, b = c.backward_input, w = c.backward_weight;
    for (const int ranks : {2, 4, 8}) {
      for (const int micro_batches : {2 * ranks, 3 * ranks, 32}) {
        const auto idle = [&](const Schedule& schedule) {
          const int chunks = schedule.stages / ranks;
          return simulated(schedule, c).makespan - chunks * micro_batches * (f + b + w);
        };
        EXPECT_EQ(idle(naive_schedule(ranks, micro_batches)),
                  (ranks - 1) * micro_batches * (f + b + w));
        EXPECT_EQ(idle(gpipe_schedule(ranks, micro_batches)), (ranks - 1) * (f + b + w));
        EXPECT_EQ(idle(one_f_one_b_schedule(ranks, micro_batches)), (ranks - 1) * (f + b + w));
        EXPECT_EQ(idle(zb_h1_schedule(ranks, micro_batches)), (ranks - 1) * (f + b - w));
        for (const int chunks : {2, 3, 4}) {
          EXPECT_EQ(idle(interleaved_schedule(ranks, micro_batches, chunks)),
                    (ranks - 1) * (f + b + w));
        }
        EXPECT_EQ(idle(zb_v_schedule(ranks, micro_batches)), (ranks - 1) * f);
        EXPECT_EQ(idle(dualpipe_v_schedule(ranks, micro_batches)), (ranks - 1) * (f + b - w));
      }
    }
  }
}

// Zero bubble, as the paper counts it.
TEST(Generators, ZbVHasNoBubbleWithinItsRanks) {
  for (int ranks = 1; ranks <= 8; ++ranks) {
    for (int micro_batches = 2 * ranks - 1; micro_batches <= 24; ++micro_batches) {
      const Schedule schedule = zb_v_schedule(ranks, micro_batches);
      EXPECT_EQ(simulated(schedule).longest_span, 6 * micro_batches) << name_of_case(schedule);
    }
  }
}

// Table 5 of Qi et al. 2023 (arXiv:2401.10241), whose bubble rate is idle time over time, both in
// the longest span from a rank's first action to its last, by the times profiled there (in ms, of a
// whole rank; `message` is how long one takes). Rates are printed with four digits, so half of the
// last one is the tolerance. The profiled times and the chunks of 1F1B-I (one for each layer of a
// rank) were written down from memory, not read; that they give 24 rates to the last digit, each
// from its own row, is why they are trusted.
struct Published {
  const char* model;
  int ranks, micro_batches, chunks;
  double forward, backward_input, backward_weight, message;
  double one_f_one_b, interleaved, zb_h1;
};
constexpr Published kTable5[] = {
    {"1.5B", 8, 24, 3, 18.522, 18.086, 9.337, 0.601, .2431, .1055, .1585},
    {"1.5B", 8, 32, 3, 18.513, 18.086, 9.331, 0.626, .1985, .0818, .1242},
    {"1.5B", 8, 64, 3, 18.546, 18.097, 9.321, 0.762, .1240, .0443, .0674},
    {"6.2B", 8, 24, 4, 29.718, 29.444, 19.927, 0.527, .2347, .0808, .1323},
    {"6.2B", 8, 32, 4, 29.802, 29.428, 19.530, 0.577, .1898, .0628, .1045},
    {"6.2B", 8, 64, 4, 29.935, 29.621, 19.388, 0.535, .1091, .0320, .0554},
    {"14.6B", 16, 48, 3, 11.347, 11.248, 8.132, 0.377, .2552, .1104, .1397},
    {"14.6B", 16, 64, 3, 11.307, 11.254, 8.101, 0.379, .2082, .0852, .1088},
    {"14.6B", 16, 128, 3, 11.325, 11.308, 8.109, 0.378, .1251, .0445, .0576},
    {"28.3B", 32, 96, 2, 10.419, 10.207, 7.715, 0.408, .2646, .1493, .1421},
    {"28.3B", 32, 128, 2, 10.408, 10.204, 7.703, 0.408, .2168, .1164, .1106},
    {"28.3B", 32, 256, 2, 10.402, 10.248, 7.698, 0.460, .1352, .0624, .0594},
};

// The rate, of a span from which `left_out` is taken.
double bubble_rate(const Schedule& schedule, const Published& row, double left_out = 0) {
  const double chunks = schedule.stages / static_cast<double>(schedule.ranks.size());
  SimulationCosts costs;
  costs.stages.assign(
      static_cast<std::size_t>(schedule.stages),
      {row.forward / chunks, row.backward_input / chunks, row.backward_weight / chunks});
  costs.latency = row.message;
  const double span =
      simulate(check(schedule), costs, BufferLimit::kPlanned, false).longest_span - left_out;
  const double busy = row.micro_batches * (row.forward + row.backward_input + row.backward_weight);
  return (span - busy) / span;
}

TEST(Generators, BubbleRatesOfTheZeroBubblePaper) {
  for (const Published& row : kTable5) {
    const std::string which = fmt::format("{}, {} micro-batches", row.model, row.micro_batches);
    const Schedule interleaved = interleaved_schedule(row.ranks, row.micro_batches, row.chunks);
    EXPECT_NEAR(bubble_rate(one_f_one_b_schedule(row.ranks, row.micro_batches), row),
                row.one_f_one_b, 0.00005)
        << which;
    EXPECT_NEAR(bubble_rate(zb_h1_schedule(row.ranks, row.micro_batches), row), row.zb_h1, 0.00005)
        << which;
    // Ours has 2 (V K - 1) messages in the span: those of the first micro-batch. The paper's rates
    // are those of K messages fewer. That was found by trying; why is not known here.
    EXPECT_NEAR(bubble_rate(interleaved, row, row.ranks * row.message), row.interleaved, 0.00005)
        << which;
  }
}

}  // namespace
}  // namespace stagecoach
