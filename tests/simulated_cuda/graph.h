// What streams did while they were captured, and how it is launched.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "core/worker.h"
#include "tests/simulated_cuda/cuda_runtime.h"

namespace simulated {

// What a stream does in a graph: a task, or it reaches a mark, or waits for one.
struct Node {
  std::function<void()> task;
  int reaches = -1, awaits = -1;
};

// How much of what was captured of each stream is before something.
using Before = std::map<Stream*, int>;

// By stream, its work in the order in which it was captured; how much of it was captured, and is
// before what each stream does next.
struct Graph {
  std::map<Stream*, std::vector<Node>> work;
  int marks = 0;
  std::map<Stream*, int> captured;
  std::map<Stream*, Before> before;
  Stream* origin = nullptr;
  long number = 0;
};

// A graph that can be launched: the origin's work runs on the stream of the launch, and that of
// each other stream beside it.
struct Executable {
  explicit Executable(const Graph& graph) : marks(static_cast<std::size_t>(graph.marks)) {
    for (const auto& [stream, nodes] : graph.work) {
      if (stream == graph.origin) {
        own = nodes;
      } else {
        others.push_back(nodes);
        workers.push_back(std::make_unique<stagecoach::Worker>());
      }
    }
  }

  void launch() {
    std::fill(marks.begin(), marks.end(), false);
    for (std::size_t i = 0; i < others.size(); ++i) {
      workers[i]->enqueue([this, i] { run(others[i]); });
    }
    run(own);
    for (const auto& worker : workers) worker->drain();
  }

 private:
  void run(const std::vector<Node>& nodes) {
    for (const Node& node : nodes) {
      if (node.task) node.task();
      if (node.reaches >= 0) {
        std::lock_guard lock(mutex);
        marks[static_cast<std::size_t>(node.reaches)] = true;
        changed.notify_all();
      }
      if (node.awaits >= 0) {
        std::unique_lock lock(mutex);
        changed.wait(lock, [&] { return marks[static_cast<std::size_t>(node.awaits)]; });
      }
    }
  }

  std::vector<Node> own;
  std::vector<std::vector<Node>> others;
  std::vector<std::unique_ptr<stagecoach::Worker>> workers;
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<bool> marks;
};

}  // namespace simulated
