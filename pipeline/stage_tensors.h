// StageTensors: the memory of a stage's plan, which micro-batch has which buffer of it, and the
// messages of its neighbours. Computes nothing.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "pipeline/buffer_owners.h"
#include "pipeline/memory_plan.h"

namespace stagecoach {

// Values, layers and messages are those of the stage's graph. What is taken for a micro-batch is
// given back after its W. Error where no buffer is free, or a micro-batch has none.
class StageTensors {
 public:
  // `name`: of the stage, in errors.
  StageTensors(StageGraph graph, const StageMemory& memory, Device device, const std::string& name);

  const StageGraph& graph() const { return graph_; }
  const MemoryPlan& plan() const { return plan_; }
  const Arena& arena() const { return arena_; }

  // Gives everything back, also after a step that broke off.
  void begin_step();

  // Where the message of a neighbour on another device is to be copied to; empty where none is.
  // Takes the buffer.
  std::vector<Tensor> receive_inputs(std::int64_t micro);
  std::vector<Tensor> receive_output_grads(std::int64_t micro);

  // What F and B read of others; only the tensors are kept. Error naming `operation` where one that
  // a layer reads does not fit.
  void set_inputs(const char* operation, std::span<const Tensor> inputs, const Tensor& targets,
                  std::int64_t micro);
  void set_output_grads(const char* operation, std::span<const Tensor> grads, std::int64_t micro);
  void take_slot(std::int64_t micro);
  void give_slot(std::int64_t micro);
  void give_inputs(std::int64_t micro) { received_.give(micro); }
  void give_gradients(std::int64_t micro);

  // The messages to the neighbours. They stay when the micro-batch has given back what it had: as
  // long as their buffers, number % count.
  const std::vector<Tensor>& outputs(std::int64_t micro) const;
  const std::vector<Tensor>& input_grads(std::int64_t micro) const;

  // `second_from`: what layers from this one on make was made by a second F. graph().size(): none.
  Tensor value(int v, std::int64_t micro, int second_from) const;
  Tensor gradient(int v, std::int64_t micro) const;
  // What came from the stage before or after; values and gradients that are handed on as copies
  // have both this and a place.
  const Tensor& received(int v, std::int64_t micro) const;
  const Tensor& received_gradient(int v, std::int64_t micro) const;
  Tensor view(const Place& place, std::int64_t micro = 0) const;
  Tensor view(const MaybePlace& place, std::int64_t micro = 0) const;  // undefined for none

 private:
  int index_of(int region, std::int64_t micro) const;
  // Runs take turns: see Placement::number_of().
  std::size_t number_of(std::int64_t micro) const {
    return runs_ == 1 ? micro : micro % run_size_ * runs_ + micro / run_size_;
  }
  std::size_t output_buffer(std::int64_t micro) const { return number_of(micro) % outputs_.size(); }
  std::size_t gradient_buffer(std::int64_t micro) const {
    return number_of(micro) % input_grads_.size();
  }

  StageGraph graph_;
  MemoryPlan plan_;
  Arena arena_;
  int runs_, run_size_;  // see StageMemory
  BufferOwners slots_, received_, gradient_slots_, received_gradients_;
  // By buffer of the owners above, and by value.
  std::vector<std::vector<Tensor>> inputs_, output_grads_;
  std::vector<std::vector<Tensor>> outputs_, input_grads_;  // by buffer: messages
};

}  // namespace stagecoach
