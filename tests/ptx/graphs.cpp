#include "tests/ptx/graphs.h"

#include <algorithm>

#include "tests/ptx/faults.h"

namespace ptx {

void Capture::add(cudaStream_t stream, const std::string& name, Work work, cudaEvent_t event) {
  std::set<int>& before = last[stream];
  const int lane = lanes.emplace(stream, static_cast<int>(lanes.size())).first->second;
  const int number = static_cast<int>(nodes.size());
  nodes.push_back({name, std::move(work), event, stream->device, lane, before});
  before = {number};
}

void Capture::join(cudaStream_t stream, const std::set<int>& behind) {
  last[stream].insert(behind.begin(), behind.end());
}

bool Capture::is_joined() const {
  std::set<int> reached, next = last.at(origin);
  while (!next.empty()) {
    const int number = *next.begin();
    next.erase(next.begin());
    if (!reached.insert(number).second) continue;
    const std::set<int>& after = nodes[static_cast<std::size_t>(number)].after;
    next.insert(after.begin(), after.end());
  }
  return reached.size() == nodes.size();
}

}  // namespace ptx

CUgraphExec_st::CUgraphExec_st(std::vector<ptx::Node> its_nodes) : nodes_(std::move(its_nodes)) {
  int lanes = 0;
  for (const ptx::Node& node : nodes_) lanes = std::max(lanes, node.lane + 1);
  for (int i = 0; i < lanes; ++i) lanes_.push_back(std::make_unique<Lane>());
}

std::vector<ptx::SharedMoment> CUgraphExec_st::schedule(ptx::Timeline& stream) {
  const ptx::Clock before = stream.now();
  std::vector<ptx::SharedMoment> moments;
  for (const ptx::Node& node : nodes_) {
    ptx::Timeline& lane = lanes_[static_cast<std::size_t>(node.lane)]->timeline;
    lane.wait(before);
    for (const int number : node.after) lane.wait(moments[static_cast<std::size_t>(number)]->clock);
    moments.push_back(lane.next(node.name));
    if (node.event != nullptr) node.event->set_clock(lane.now());
  }
  for (const ptx::SharedMoment& moment : moments) stream.wait(moment->clock);
  return moments;
}

void CUgraphExec_st::run(const std::vector<ptx::SharedMoment>& moments) {
  done_.assign(nodes_.size(), false);
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    lanes_[static_cast<std::size_t>(nodes_[i].lane)]->worker.enqueue(
        [this, i, &moments] { run_node(i, moments[i]); });
  }
  for (const auto& lane : lanes_) lane->worker.drain();
}

void CUgraphExec_st::run_node(std::size_t number, const ptx::SharedMoment& moment) {
  const ptx::Node& node = nodes_[number];
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] {
      return std::all_of(node.after.begin(), node.after.end(),
                         [&](int before) { return done_[static_cast<std::size_t>(before)]; });
    });
  }
  if (node.event != nullptr) {
    node.event->reach(node.event->record());  // in spite of a fault: the host may wait for it
  } else {
    ptx::perform(node.device, moment, node.work);
  }
  {
    std::lock_guard lock(mutex_);
    done_[number] = true;
  }
  changed_.notify_all();
}
