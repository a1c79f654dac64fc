#include "trainer/cli/words.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>

#include "core/error.h"
#include "trainer/cli/options.h"
#include "trainer/cli/suggest.h"

namespace stagecoach {
namespace {

// At least one piece; they may be empty.
std::vector<std::string> between_commas(const std::string& text) {
  std::vector<std::string> pieces;
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t end = std::min(text.find(',', at), text.size());
    pieces.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return pieces;
}

}  // namespace

void throw_unknown_word(const std::string& operation, const std::string& option,
                        const std::string& word, const std::vector<std::string>& words) {
  throw UsageError(operation, fmt::format("{} {}", option, enumerate(words)),
                   fmt::format("'{}'", word), did_you_mean(word, words));
}

void check_name(const std::string& operation, const std::string& option, const std::string& name,
                const std::vector<std::string>& names) {
  if (std::ranges::find(names, name) == names.end()) {
    throw_unknown_word(operation, option, name, names);
  }
}

PartitionRequest partition_of(const std::string& operation, const std::string& text) {
  for (const Word<PartitionKind>& word : kPartitionWords) {
    if (word.text == text) return {word.value, {}};
  }
  if (text.empty() || text.find_first_not_of("0123456789,") != std::string::npos) {
    const std::string hint = did_you_mean(text, words_of(kPartitionWords));
    throw UsageError(operation, "--partition time, uniform, parameters or cuts like 3,10",
                     fmt::format("'{}'", text),
                     hint.empty() ? "a cut is the index of a stage's first layer" : hint);
  }
  if (text.front() == ',' || text.back() == ',' || text.find(",,") != std::string::npos) {
    throw UsageError(operation, "--partition with one number between commas, like 3,10",
                     fmt::format("'{}'", text));
  }
  PartitionRequest partition{PartitionKind::kCuts, {}};
  for (const std::string& cut : between_commas(text)) {
    partition.cuts.push_back(number_of<int>(operation, "--partition", cut));
  }
  return partition;
}

std::vector<int> replicas_of(const std::string& operation, const std::string& text) {
  std::vector<int> replicas;
  for (const std::string& count : between_commas(text)) {
    replicas.push_back(number_of<int>(operation, "--replicas", count));
    if (replicas.back() >= 1 && std::has_single_bit(static_cast<unsigned>(replicas.back()))) {
      continue;
    }
    throw UsageError(operation, "--replicas of 1, 2, 4, 8, ..., like 2 or 2,1",
                     fmt::format("'{}'", text));
  }
  return replicas;
}

CheckpointInterval interval_of(const std::string& operation, const std::string& text) {
  struct Unit {
    std::string_view text;
    double seconds;  // 0: steps
  };
  constexpr Unit kUnits[] = {{"", 0}, {"s", 1}, {"min", 60}, {"h", 3600}};
  std::int64_t number = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string_view unit(stop, text.data() + text.size());
  const auto* found = std::ranges::find(kUnits, unit, &Unit::text);
  if (error != std::errc() || number < 1 || number > 1'000'000'000 || found == std::end(kUnits)) {
    throw UsageError(operation, "--checkpoint-every with steps or a time: 100, 30s, 10min, 2h",
                     fmt::format("'{}'", text));
  }
  if (found->seconds == 0) return {number, 0};
  return {0, static_cast<double>(number) * found->seconds};
}

Duration duration_of(const std::string& operation, const std::string& option,
                     const std::string& text) {
  double number = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string_view unit(stop, text.data() + text.size());
  const bool epochs = unit == "epoch" || unit == "epochs";
  const bool whole = number == std::floor(number);
  if (error != std::errc() || !(number >= 0 && number <= 1e9) ||
      !(epochs || (unit.empty() && whole))) {
    throw UsageError(operation, option + " with steps or epochs: 500, 2.5epochs",
                     fmt::format("'{}'", text));
  }
  if (epochs) return {0, number};
  return {static_cast<std::int64_t>(number), 0};
}

std::vector<Duration> durations_of(const std::string& operation, const std::string& option,
                                   const std::string& text) {
  std::vector<Duration> durations;
  for (const std::string& piece : between_commas(text)) {
    durations.push_back(duration_of(operation, option, piece));
  }
  return durations;
}

DeviceRequest device_of(const std::string& operation, const std::string& text) {
  const std::size_t colon = text.find(':');
  const std::string word = text.substr(0, colon);
  const char* at = text.data() + (colon == std::string::npos ? text.size() : colon + 1);
  const char* const end = text.data() + text.size();
  DeviceRequest device;
  const auto* found = std::ranges::find(kDeviceWords, word, &Word<DeviceRequest::Kind>::text);
  bool good = found != std::end(kDeviceWords);
  if (good) device.kind = found->value;
  if (colon != std::string::npos) {
    good = good && device.kind == DeviceRequest::Kind::kCuda && at < end;
  }
  while (good && at < end) {
    int gpu = 0;
    const auto [stop, code] = std::from_chars(at, end, gpu);
    const bool comma = stop < end && *stop == ',' && stop + 1 < end;
    good = code == std::errc() && *at != '-' && (stop == end || comma) &&
           std::ranges::find(device.gpus, gpu) == device.gpus.end();
    device.gpus.push_back(gpu);
    at = comma ? stop + 1 : end;
  }
  if (good) return device;
  throw UsageError(operation, "--device auto, cpu, cuda, or GPUs like cuda:0,1, each once",
                   fmt::format("'{}'", text));
}

}  // namespace stagecoach
