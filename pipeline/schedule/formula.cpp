#include "pipeline/schedule/formula.h"

#include <algorithm>
#include <iterator>

namespace stagecoach {
namespace {

struct Formula {
  Generator generator;
  const char* text;
  double (*bubble)(double ranks, double chunks, double micro_batches);
  // With fewer micro-batches it does not hold.
  double (*fewest)(double ranks);
};

// Idle time / (busy + idle time).
constexpr auto kFlush = [](double k, double, double m) { return (k - 1) / (m + k - 1); };
constexpr auto kVShape = [](double k, double, double m) { return (k - 1) / (6 * m + k - 1); };
constexpr auto kAnyNumber = [](double) { return 1.0; };
constexpr auto kOneForEachRank = [](double k) { return k; };
constexpr auto kRoundTrip = [](double k) { return 2 * k - 1; };

constexpr Formula kFormulas[] = {
    {Generator::kNaive, "1 - 1/K", [](double k, double, double) { return 1 - 1 / k; }, kAnyNumber},
    {Generator::kGPipe, "(K-1)/(M+K-1)", kFlush, kAnyNumber},
    {Generator::kOneFOneB, "(K-1)/(M+K-1)", kFlush, kAnyNumber},
    {Generator::kForwardOnly, "(K-1)/(M+K-1)", kFlush, kAnyNumber},
    {Generator::kInterleaved, "(K-1)/(VM+K-1)",
     [](double k, double v, double m) { return (k - 1) / (v * m + k - 1); }, kOneForEachRank},
    {Generator::kZbH1, "(K-1)/(3M+K-1)",
     [](double k, double, double m) { return (k - 1) / (3 * m + k - 1); }, kOneForEachRank},
    {Generator::kZbV, "(K-1)/(6M+K-1)", kVShape, kRoundTrip},
    {Generator::kDualPipeV, "(K-1)/(6M+K-1)", kVShape, kRoundTrip},
};

const Formula* formula_of(const Schedule& schedule) {
  const auto* found = std::ranges::find(kFormulas, schedule.generator, &Formula::generator);
  if (found == std::end(kFormulas)) return nullptr;
  const auto ranks = static_cast<double>(schedule.ranks.size());
  return schedule.micro_batches < found->fewest(ranks) ? nullptr : &*found;
}

bool is_empty(const Schedule& schedule) {
  return schedule.stages < 1 || schedule.micro_batches < 1 || schedule.ranks.empty();
}

}  // namespace

double textbook_bubble(const Schedule& schedule) {
  if (is_empty(schedule)) return 0;
  const Formula* formula = formula_of(schedule);
  if (formula == nullptr) return -1;
  const auto ranks = static_cast<double>(schedule.ranks.size());
  return formula->bubble(ranks, schedule.stages / ranks, schedule.micro_batches);
}

const char* textbook_formula(const Schedule& schedule) {
  const Formula* formula = formula_of(schedule);
  return formula == nullptr ? "" : formula->text;
}

}  // namespace stagecoach
