// Engine: a network, its stages and its optimizer, ready to train batches.
#pragma once

#include <deque>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "core/error.h"
#include "data/loader.h"
#include "layers/network.h"
#include "pipeline/pipeline.h"
#include "trainer/config.h"
#include "trainer/devices.h"

namespace stagecoach {

// Sums over the samples of a batch.
struct BatchResult {
  double loss = 0;
  std::int64_t correct = 0;
  std::int64_t samples = 0;
  double mean_loss() const { return loss / static_cast<double>(samples); }
  double accuracy() const { return static_cast<double>(correct) / static_cast<double>(samples); }
};

// `images` as the network is given them on these devices: [images, 3, side, side] channels_last.
TensorSpec input_spec(const TrainConfig& config, const DeviceChoice& devices, std::int64_t images);

class Engine {
 public:
  // Splits the network, plans and allocates all memory, draws the initial weights. `network` must
  // outlive the engine. `other_bytes`: memory of the first stage's device that will be needed
  // beside. `note` gets lines for people: what is measured, and how the layers are shared out.
  // Throws UsageError when the network has too few layers or the device is not there, Error when
  // the memory does not suffice, with what would fit.
  Engine(const Network& network, const TrainConfig& config, std::int64_t other_bytes,
         const std::function<void(const std::string&)>& note);

  // Begins a training step on a full batch [M * B] of input_spec(), which stays as it is until
  // the step's finish(). At most max_in_flight() steps at a time, each with a batch of its own.
  void launch(const Batch& batch);
  int max_in_flight() const { return loop_->max_in_flight(); }
  // Ends the step that was launched first. Throws the first error of any stage. A loss that is not
  // finite: NumericError naming the step, and the first layer with such an output; weights are
  // those before the step, and steps launched behind it are dropped.
  BatchResult finish();
  BatchResult train_batch(const Batch& batch) {
    launch(batch);
    return finish();
  }
  // Loss and right answers of the batch's first `count` samples, without dropout. NumericError as
  // above. Not while a training step is in flight.
  BatchResult eval_batch(const Batch& batch);
  // Training steps finished.
  std::int64_t steps() const { return steps_; }

  // Weights as safetensors under torchvision's names, independent of the number of stages. load()
  // reads all or, when a tensor is missing or has another shape, throws Error and changes none.
  // save() of weights that are not finite: NumericError.
  void save(const std::filesystem::path& file) const;
  void load(const std::filesystem::path& file);

  const TrainingLoop& loop() const { return *loop_; }
  const Pipeline* pipeline() const { return pipeline_; }  // null for the plain loop
  const Partition& partition() const { return partition_; }
  const DeviceChoice& devices() const { return devices_; }
  // Of every stage, if it did not recompute; empty where it does not.
  const std::vector<std::int64_t>& planned_without_recompute() const {
    return planned_without_recompute_;
  }
  const std::string& partition_text() const { return partition_text_; }  // how and where it is cut

 private:
  TensorSpec input_spec(std::int64_t images) const;
  std::int64_t least_bytes(const std::vector<LayerPlan>& plans) const;
  void check_least_memory(const std::vector<LayerPlan>& plans, std::int64_t other_bytes) const;
  Partition choose_partition(const std::vector<LayerPlan>& plans,
                             const std::function<void(const std::string&)>& note);
  StepInput input_of(const Batch& batch, bool training) const;
  [[noreturn]] void explain(const std::string& operation, const std::string& got,
                            const StepInput& input, const char* hint);
  std::string nonfinite_layer(const StepInput& input);
  std::vector<StateEntry> parameters() const;

  const Network& network_;
  const TrainConfig config_;
  const DeviceChoice devices_;
  Partition partition_;
  std::string partition_text_;
  std::shared_ptr<const Optimizer> optimizer_;
  std::vector<std::int64_t> planned_without_recompute_;
  std::unique_ptr<TrainingLoop> loop_;
  Pipeline* pipeline_ = nullptr;  // loop_, unless it is the plain one
  std::int64_t steps_ = 0;
  std::deque<StepInput> in_flight_;
};

}  // namespace stagecoach
