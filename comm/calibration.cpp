#include "comm/calibration.h"

#include <algorithm>
#include <map>
#include <utility>

#include "comm/collectives.h"
#include "comm/message.h"
#include "core/error.h"

namespace stagecoach {
namespace {

constexpr int kTag = tag_of(MessageKind::kCollective);
// Exchanges with a machine's clock: the first ones find caches cold and threads asleep. More only
// where the bound would not do.
constexpr int kLeastExchanges = 10, kMostExchanges = 30;
constexpr int kShortMessages = 21, kLongMessages = 4;
constexpr std::size_t kLongMessage = 1 << 20;  // as a stage of AlexNet sends
constexpr std::byte kGoOn{1}, kEnough{0};

double seconds(Clock::duration duration) {
  return std::chrono::duration<double>(duration).count();
}
double milliseconds(Clock::duration duration) {
  return 1e3 * seconds(duration);
}

void send(World& world, int to, std::span<const std::byte> bytes) {
  world.send(to, kTag, bytes).wait();
}
void receive(World& world, int from, std::span<std::byte> bytes) {
  world.receive(from, kTag, bytes).wait();
}

// Half of the time of each message there and back, in ascending order. Both call it; `begins`: in
// one of them.
std::vector<double> times_of_messages(World& world, int other, bool begins, std::size_t size,
                                      int count) {
  ByteVector bytes(size);
  std::vector<double> times;
  for (int i = 0; i < count; ++i) {
    const Clock::time_point start = Clock::now();
    if (begins) send(world, other, bytes);
    receive(world, other, bytes);
    if (!begins) send(world, other, bytes);
    times.push_back(seconds(Clock::now() - start) / 2);
  }
  std::ranges::sort(times);
  return times;
}

}  // namespace

std::string to_text(const LinkSpeed& speed) {
  const double gigabytes = 1e-9 * speed.bandwidth;
  return fmt::format("{:.0f} us, {:.{}f} GB/s", 1e6 * speed.latency, gigabytes,
                     gigabytes < 1 ? 3 : 1);
}

Calibration::Calibration(World& world, CalibrationOptions options)
    : world_(world), options_(std::move(options)) {
  find_machines();
  const std::vector<Reading> readings = read_clocks();
  check(readings);
  take(readings);
  measure_speeds();
}

void Calibration::find_machines() {
  MessageWriter own;
  own.put(options_.machine);
  own.put(host_name());
  std::map<std::string, int> numbers;
  for (const ByteVector& bytes : all_gather(world_, own.bytes())) {
    MessageReader reader(bytes);
    const auto [found, is_new] = numbers.emplace(reader.get<std::string>(), machines());
    if (is_new) {
      leaders_.push_back(static_cast<int>(machine_of_.size()));
      hosts_.push_back(reader.get<std::string>());
    }
    machine_of_.push_back(found->second);
  }
}

// In all processes, by machine. Each machine's first process answers, one after the other.
std::vector<Calibration::Reading> Calibration::read_clocks() const {
  std::vector<Reading> readings(leaders_.size());
  readings[0].round_trip = {};  // process 0 has its own clock
  MessageWriter writer;
  if (world_.rank() == 0) {
    for (std::size_t m = 1; m < leaders_.size(); ++m) readings[m] = read_clock_of(leaders_[m]);
    writer.put(readings);
  } else if (std::ranges::find(leaders_, world_.rank()) != leaders_.end()) {
    answer();
  }
  const ByteVector shared = broadcast(world_, writer.bytes());
  return MessageReader(shared).get_all<Reading>();
}

// The answer was given at some moment between question and answer, so the middle of the shortest
// such time is wrong by at most half of it.
Calibration::Reading Calibration::read_clock_of(int leader) const {
  Reading best;
  const auto will_do = [&] { return best.round_trip / 2 <= kWorstBound; };
  while (best.exchanges < kLeastExchanges || (!will_do() && best.exchanges < kMostExchanges)) {
    ++best.exchanges;
    Clock::time_point there;
    const Clock::time_point start = options_.clock();
    send(world_, leader, std::span(&kGoOn, 1));
    receive(world_, leader, std::as_writable_bytes(std::span(&there, 1)));
    const Clock::duration round_trip = options_.clock() - start;
    if (round_trip >= best.round_trip) continue;
    best.round_trip = round_trip;
    best.offset = start + round_trip / 2 - there;
  }
  send(world_, leader, std::span(&kEnough, 1));
  return best;
}

void Calibration::answer() const {
  for (std::byte question{};;) {
    receive(world_, 0, std::span(&question, 1));
    if (question == kEnough) return;
    const Clock::time_point here = options_.clock();
    send(world_, 0, std::as_bytes(std::span(&here, 1)));
  }
}

void Calibration::check(const std::vector<Reading>& readings) const {
  for (std::size_t m = 1; m < readings.size(); ++m) {
    const Reading& reading = readings[m];
    if (reading.round_trip / 2 <= kWorstBound) continue;
    throw Error(
        "clocks of the machines",
        fmt::format("a message from process 0 on {} to process {} on {} and back within {} ms, so "
                    "that times of one trace are right to {} ms",
                    hosts_[0], leaders_[m], hosts_[m], 2 * kWorstBound.count(),
                    kWorstBound.count()),
        fmt::format("{:.1f} ms, the fastest of {}", milliseconds(reading.round_trip),
                    reading.exchanges),
        "look at the network between them, and at what else runs on both; or train without this "
        "machine");
  }
}

void Calibration::take(const std::vector<Reading>& readings) {
  offset_ = readings[static_cast<std::size_t>(machine_of(world_.rank()))].offset;
  bound_ = std::ranges::max(readings, {}, &Reading::round_trip).round_trip / 2;
  read_at_ = Clock::now();
}

void Calibration::refresh() {
  if (machines() == 1) return;
  const bool due = Clock::now() - read_at_ >= options_.clocks_last;
  const ByteVector decision = broadcast(world_, {due ? kGoOn : kEnough});
  if (decision[0] == kEnough) return;
  const std::vector<Reading> readings = read_clocks();
  const bool all_do = std::ranges::all_of(
      readings, [](const Reading& reading) { return reading.round_trip / 2 <= kWorstBound; });
  if (all_do) take(readings);
}

void Calibration::measure_speeds() {
  for (std::size_t m = 0; m < leaders_.size() && !within_; ++m) {
    const auto after = machine_of_.begin() + leaders_[m] + 1;
    const auto second = std::find(after, machine_of_.end(), static_cast<int>(m));
    if (second == machine_of_.end()) continue;
    within_ = measured_between(leaders_[m], static_cast<int>(second - machine_of_.begin()));
  }
  if (machines() > 1) between_ = measured_between(0, leaders_[1]);
}

// In all processes. The median of short messages, as a message finds its reader waiting or not; the
// fastest long one, as the first ones find memory that was never touched.
LinkSpeed Calibration::measured_between(int first, int second) const {
  MessageWriter writer;
  if (world_.rank() == first || world_.rank() == second) {
    const bool begins = world_.rank() == first;
    const int other = begins ? second : first;
    const std::vector<double> of_short =
        times_of_messages(world_, other, begins, 1, kShortMessages);
    const std::vector<double> of_long =
        times_of_messages(world_, other, begins, kLongMessage, kLongMessages);
    LinkSpeed speed;
    speed.latency = of_short[kShortMessages / 2];
    const double rest = of_long.front() - speed.latency;
    speed.bandwidth = static_cast<double>(kLongMessage) / (rest > 0 ? rest : of_long.front());
    writer.put(speed);
  }
  const ByteVector shared = broadcast(world_, writer.bytes(), first);
  return MessageReader(shared).get<LinkSpeed>();
}

LinkSpeed Calibration::speed(std::span<const int> processes) const {
  const auto elsewhere = [&](int process) {
    return machine_of(process) != machine_of(processes.front());
  };
  const auto& speed = std::ranges::any_of(processes, elsewhere) ? between_ : within_;
  return speed.value_or(LinkSpeed{});
}

std::string Calibration::to_text() const {
  std::string text;
  if (machines() > 1) {
    text = fmt::format("clocks: {} machines, offsets within {:.2f} ms", machines(),
                       milliseconds(bound_));
  }
  for (const auto& [speed, what] :
       {std::pair{within_, "messages"}, std::pair{between_, "messages between machines"}}) {
    if (speed)
      text += fmt::format("{}{}: {}", text.empty() ? "" : "; ", what, stagecoach::to_text(*speed));
  }
  return text;
}

}  // namespace stagecoach
