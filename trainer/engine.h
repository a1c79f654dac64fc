// Engine: a network, its stages and its optimizer, ready to train batches.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/batch.h"
#include "layers/network.h"
#include "pipeline/schedule/partition.h"
#include "trainer/devices.h"
#include "trainer/job.h"

namespace stagecoach {

class Program;
class TrainingLoop;
struct StateEntry;

// Sums over the samples of a batch.
struct BatchResult {
  double loss = 0;
  std::int64_t correct = 0;
  std::int64_t samples = 0;
  // Of the gradients, before they were clipped; none where they are not.
  std::optional<double> gradient_norm = std::nullopt;
  double mean_loss() const { return loss / static_cast<double>(samples); }
  double accuracy() const { return static_cast<double>(correct) / static_cast<double>(samples); }
};

struct EngineOptions {
  // Bytes of the first stage's device that will be needed beside the stages.
  std::int64_t other_bytes = 0;
  // Gets lines for people: what is measured, and how the layers are shared out.
  std::function<void(const std::string&)> note = [](const std::string&) {};
};

class Engine {
 public:
  // Splits the network, plans and allocates all memory, draws the initial weights. `devices`: of
  // the job. Where its ranks are processes, all of them make an engine, and what follows is
  // collective: all call it in the same order, each with the whole batch. Throws UsageError when
  // the network has too few layers or the device is not there, Error when the memory does not
  // suffice, with what would fit.
  Engine(const Network& network, const TrainJob& job, const DeviceChoice& devices,
         const EngineOptions& options = {});
  explicit Engine(const Network& network, const TrainJob& job, const EngineOptions& options = {})
      : Engine(network, job, choose_devices(job), options) {}
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Begins a training step on a batch [M * B] in the first device's memory, which stays as it is
  // until the step's finish(): on its first `count` samples, which for layers with statistics of
  // the batch must be all. Error for inputs or targets of another spec or elsewhere.
  // At most max_in_flight() steps at a time, each with a batch of its own.
  void launch(const BatchView& batch);
  int max_in_flight() const;
  // Ends the step that was launched first. Throws the first error of any stage. A loss that is not
  // finite: NumericError naming the step, and the first layer with such an output; weights are
  // those before the step, and steps launched behind it are dropped.
  BatchResult finish();
  BatchResult train_batch(const BatchView& batch) {
    launch(batch);
    return finish();
  }
  // Loss and right answers of the batch's first `count` samples, without dropout. NumericError as
  // above. Not while a training step is in flight.
  BatchResult eval_batch(const BatchView& batch);
  // Training steps finished.
  std::int64_t steps() const;

  // Weights as safetensors under torchvision's names, independent of the number of stages. load()
  // converts F16 and BF16; when a tensor is missing or has another shape, it throws Error and
  // changes none.
  // Where ranks are processes, the first one writes the file, and each reads it.
  // save() of weights that are not finite: NumericError; of stages that are at different steps
  // since one failed: Error.
  void save(const std::filesystem::path& file) const;
  void load(const std::filesystem::path& file);

  // All that training steps change: parameters, buffers, states of the optimizer; and how many
  // steps were made. Copied between the engine and memory of the CPU, of the entries' specs. Not
  // while a step is in flight. Error where save() would throw one.
  // Where ranks are processes, each reads the entries that it owns, and restores those it has.
  std::vector<StateEntry> state() const;
  bool owns(const StateEntry& entry) const;
  void read_state(const std::function<Tensor(const StateEntry&)>& destination_of) const;
  void restore(std::int64_t steps,
               const std::function<void(const StateEntry&, const Tensor&)>& read);

  const TrainingLoop& loop() const;
  const Program* program() const;  // what runs; null for the plain loop
  const Partition& partition() const;
  const std::string& partition_text() const;  // how and where it is cut
  const DeviceChoice& devices() const;
  // Of every stage, if it did not recompute; empty where it does not.
  const std::vector<std::int64_t>& planned_without_recompute() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace stagecoach
