// Graphs run in parallel where their edges allow it, and what no edge and no event orders is found.
#include "tests/ptx/graphs.h"

#include <chrono>
#include <condition_variable>
#include <mutex>

#include "tests/ptx/kernels/kernels.h"
#include "tests/ptx/on_gpu.h"
#include "tests/simulated_cuda/tasks.h"

namespace ptx {
namespace {

using testing::Floats;
using testing::OnGpu;
using testing::store;

class PtxGraphs : public OnGpu {
 protected:
  PtxGraphs() {
    cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking);
    for (cudaEvent_t* event : {&fork, &between, &join})
      cudaEventCreateWithFlags(event, cudaEventDisableTiming);
    check_races(true);
  }
  ~PtxGraphs() override {
    check_races(false);
    forget_fault();
    if (graph != nullptr) cudaGraphExecDestroy(graph);
    cudaStreamDestroy(other);
    for (cudaEvent_t event : {fork, between, join}) cudaEventDestroy(event);
  }

  // Work of both streams, which begin together and end together.
  template <typename Body>
  cudaError_t capture(const Body& body, bool joined = true) {
    cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal);
    cudaEventRecord(fork, stream);
    cudaStreamWaitEvent(other, fork, 0);
    body();
    if (joined) {
      cudaEventRecord(join, other);
      cudaStreamWaitEvent(stream, join, 0);
    }
    cudaGraph_t captured = nullptr;
    const cudaError_t status = cudaStreamEndCapture(stream, &captured);
    if (status == cudaSuccess) {
      EXPECT_EQ(cudaGraphInstantiate(&graph, captured, 0), cudaSuccess);
      cudaGraphDestroy(captured);
    }
    return status;
  }
  void let_other_wait() {
    cudaEventRecord(between, stream);
    cudaStreamWaitEvent(other, between, 0);
  }

  cudaStream_t other = nullptr;
  cudaEvent_t fork = nullptr, between = nullptr, join = nullptr;
  cudaGraphExec_t graph = nullptr;
};

// Two tasks that come to one place.
class Meeting {
 public:
  // Whether the other one comes, or was there, before the time is over.
  bool come(std::chrono::milliseconds limit) {
    std::unique_lock lock(mutex_);
    ++here_;
    changed_.notify_all();
    return changed_.wait_for(lock, limit, [&] { return here_ == 2; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int here_ = 0;
};

TEST_F(PtxGraphs, NodesRunAtTheSameTimeWhereNoEdgeForbids) {
  for (const bool edge : {false, true}) {
    const std::chrono::milliseconds limit(edge ? 100 : 10000);
    Meeting meeting;
    bool met = false;
    ASSERT_EQ(capture([&] {
                simulated::enqueue(stream, [&] { met = meeting.come(limit); });
                if (edge) let_other_wait();
                simulated::enqueue(other, [&] { meeting.come(limit); });
              }),
              cudaSuccess);
    ASSERT_EQ(cudaGraphLaunch(graph, stream), cudaSuccess);
    ASSERT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
    EXPECT_EQ(met, !edge);
    cudaGraphExecDestroy(std::exchange(graph, nullptr));
  }
}

TEST_F(PtxGraphs, AMissingEdgeIsARace) {
  const Floats first(100), second(100);
  const auto work = [&](bool edge) {
    return [&, edge] {
      store(stream, first.get(), 0, 100, 1.0f);
      if (edge) let_other_wait();
      cudaMemcpyAsync(second.get(), first.get(), 400, cudaMemcpyDefault, other);
    };
  };
  ASSERT_EQ(capture(work(true)), cudaSuccess);
  for (int launch = 0; launch < 3; ++launch) ASSERT_EQ(cudaGraphLaunch(graph, stream), cudaSuccess);
  ASSERT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
  EXPECT_EQ(second.values(stream), std::vector<float>(100, 1.0f));
  cudaGraphExecDestroy(std::exchange(graph, nullptr));

  ASSERT_EQ(capture(work(false)), cudaSuccess);
  ASSERT_EQ(cudaGraphLaunch(graph, stream), cudaSuccess);
  expect_fault(cudaErrorLaunchFailure, {"a race", "nothing orders it behind", "400 bytes"});
}

TEST_F(PtxGraphs, AMissingEventIsARace) {
  const Floats memory(100);
  ASSERT_EQ(store(stream, memory.get(), 0, 100, 1.0f), cudaSuccess);
  let_other_wait();
  ASSERT_EQ(store(other, memory.get(), 0, 100, 2.0f), cudaSuccess);
  EXPECT_EQ(cudaStreamSynchronize(other), cudaSuccess);
  // The host has waited for all of it.
  ASSERT_EQ(store(stream, memory.get(), 0, 100, 3.0f), cudaSuccess);
  EXPECT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
  // Of this it has not, though it has long been done.
  ASSERT_EQ(store(stream, memory.get(), 50, 1, 4.0f), cudaSuccess);
  stream->worker.drain();
  ASSERT_EQ(store(other, memory.get(), 0, 100, 5.0f), cudaSuccess);
  EXPECT_EQ(cudaStreamSynchronize(other), cudaErrorLaunchFailure);
  expect_fault(cudaErrorLaunchFailure,
               {"kernel ptx::testing::store_kernel, thread (18, 0, 0) of block (1, 0, 0)",
                "a store of the bytes from 200 on",
                "behind kernel ptx::testing::store_kernel, which stores there"});
}

TEST_F(PtxGraphs, AStoreMayNotOvertakeALoad) {
  const Floats memory(100), to(100);
  memory.fill(std::vector<float>(100), stream);
  ASSERT_EQ(cudaMemcpyAsync(to.get(), memory.get(), 400, cudaMemcpyDefault, stream), cudaSuccess);
  ASSERT_EQ(store(other, memory.get(), 0, 100, 1.0f), cudaSuccess);
  expect_fault(cudaErrorLaunchFailure, {"a race", "allocation"});
}

TEST_F(PtxGraphs, LoadsAreNoRace) {
  const Floats memory(100), first(100), second(100);
  memory.fill(std::vector<float>(100), stream);
  ASSERT_EQ(cudaMemcpyAsync(first.get(), memory.get(), 400, cudaMemcpyDefault, stream),
            cudaSuccess);
  ASSERT_EQ(cudaMemcpyAsync(second.get(), memory.get(), 400, cudaMemcpyDefault, other),
            cudaSuccess);
  EXPECT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
  EXPECT_EQ(cudaStreamSynchronize(other), cudaSuccess);
}

TEST_F(PtxGraphs, TheNextLaunchIsBehindTheOneBefore) {
  const Floats memory(100);
  ASSERT_EQ(capture([&] { store(other, memory.get(), 0, 100, 1.0f); }), cudaSuccess);
  for (int i = 0; i < 2; ++i) ASSERT_EQ(cudaGraphLaunch(graph, stream), cudaSuccess);
  ASSERT_EQ(store(stream, memory.get(), 0, 100, 2.0f), cudaSuccess);
  EXPECT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
}

TEST_F(PtxGraphs, ACaptureMustComeTogetherAgain) {
  const Floats memory(100);
  EXPECT_EQ(capture([&] { store(other, memory.get(), 0, 100, 1.0f); }, false),
            cudaErrorStreamCaptureUnjoined);
  EXPECT_EQ(capture([&] {
              void* more = nullptr;
              EXPECT_EQ(cudaMalloc(&more, 100), cudaErrorStreamCaptureUnsupported);
            }),
            cudaErrorStreamCaptureInvalidated);
}

}  // namespace
}  // namespace ptx
