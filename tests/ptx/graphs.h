// Captured graphs: nodes and the edges that events made of them, replayed in parallel where no edge
// forbids.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <vector>

#include "tests/ptx/streams.h"

namespace ptx {

struct Node {
  std::string name;
  Work work;                    // or none:
  cudaEvent_t event = nullptr;  // what each launch records
  int device;
  int lane;             // of the stream that it was captured from
  std::set<int> after;  // numbers of nodes
};

// What streams capture, until the one where it began ends it.
struct Capture {
  cudaStream_t origin;
  std::vector<Node> nodes;
  std::map<cudaStream_t, std::set<int>>
      last;  // of each stream that takes part: what its next node is after
  std::map<cudaStream_t, int> lanes;
  bool valid = true;

  void add(cudaStream_t stream, const std::string& name, Work work, cudaEvent_t event = nullptr);
  // `stream` takes part, behind those nodes.
  void join(cudaStream_t stream, const std::set<int>& behind);
  // Whether the origin's end is behind every node.
  bool is_joined() const;
};

// The captures that the calling thread has begun and not ended; calls that wait or allocate are not
// allowed meanwhile. Whether there are some, which then are not valid any more.
bool refuse_in_capture();

}  // namespace ptx

struct CUgraph_st {
  std::vector<ptx::Node> nodes;
};

struct CUgraphExec_st {
  explicit CUgraphExec_st(std::vector<ptx::Node> its_nodes);

  // The next launch: the place of each node behind what `stream` was given before, and behind them
  // what it is given next.
  std::vector<ptx::SharedMoment> schedule(ptx::Timeline& stream);
  // Runs all nodes, to the end of the last one.
  void run(const std::vector<ptx::SharedMoment>& moments);

 private:
  struct Lane {
    ptx::Timeline timeline;
    stagecoach::Worker worker;
  };
  void run_node(std::size_t number, const ptx::SharedMoment& moment);

  std::vector<ptx::Node> nodes_;
  std::vector<std::unique_ptr<Lane>> lanes_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<bool> done_;
};
