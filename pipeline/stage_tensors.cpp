#include "pipeline/stage_tensors.h"

#include <utility>

#include "core/error.h"

namespace stagecoach {
namespace {

void check_count(const char* operation, const char* what, std::span<const Tensor> message,
                 std::size_t count) {
  STAGECOACH_CHECK(message.size() == count, operation, fmt::format("{} x {}", count, what),
                   fmt::format("{}", message.size()));
}

}  // namespace

StageTensors::StageTensors(StageGraph graph, const StageMemory& memory, Device device,
                           const std::string& name)
    : graph_(std::move(graph)),
      plan_(plan_memory(graph_, memory)),
      arena_(plan_.arena, device),
      runs_(memory.runs),
      run_size_(memory.micro_batches / memory.runs),
      slots_("slot of " + name, memory.slots),
      received_("input of " + name, memory.received),
      gradient_slots_("gradient slot of " + name, memory.gradient_slots),
      received_gradients_("output gradient of " + name, memory.received_gradients),
      inputs_(static_cast<std::size_t>(memory.received)),
      output_grads_(static_cast<std::size_t>(memory.received_gradients)),
      outputs_(static_cast<std::size_t>(memory.outputs)),
      input_grads_(static_cast<std::size_t>(memory.input_gradients)) {
  for (std::vector<Tensor>& message : inputs_) message.resize(graph_.values.size());
  for (std::vector<Tensor>& message : output_grads_) message.resize(graph_.values.size());
  // What is not taken and given with the micro-batches is in use as long as the stage lives;
  // outputs and input gradients too, as the neighbours hold their addresses.
  const auto regions = static_cast<int>(plan_.arena.regions().size());
  for (int region = 0; region < regions; ++region) {
    if (region == plan_.slots || region == plan_.gradient_slots) continue;
    for (int i = 0; i < plan_.arena.regions()[region].count; ++i) arena_.take(region, i);
  }
}

void StageTensors::begin_step() {
  for (const int slot : slots_.clear()) arena_.give(plan_.slots, slot);
  for (const int slot : gradient_slots_.clear()) arena_.give(plan_.gradient_slots, slot);
  received_.clear();
  received_gradients_.clear();
}

std::vector<Tensor> StageTensors::receive_inputs(std::int64_t micro) {
  std::vector<Tensor> buffers;
  if (plan_.received_activations < 0) return buffers;
  received_.take(micro);
  for (const int v : graph_.received) buffers.push_back(view(plan_.received[v], micro));
  return buffers;
}

std::vector<Tensor> StageTensors::receive_output_grads(std::int64_t micro) {
  std::vector<Tensor> buffers;
  if (plan_.received_gradients < 0) return buffers;
  received_gradients_.take(micro);
  for (const int v : graph_.gradients_received) {
    buffers.push_back(view(plan_.received_gradient[v], micro));
  }
  return buffers;
}

void StageTensors::set_inputs(const char* operation, std::span<const Tensor> inputs,
                              const Tensor& targets, std::int64_t micro) {
  check_count(operation, "input", inputs, graph_.received.size());
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const StageValue& value = graph_.values[graph_.received[i]];
    if (value.readers.empty()) continue;
    check_tensor(arena_.device(), operation, "input", inputs[i], value.spec);
  }
  if (!received_.has(micro)) received_.take(micro);
  std::vector<Tensor>& message = inputs_[static_cast<std::size_t>(received_.of(micro))];
  for (std::size_t i = 0; i < inputs.size(); ++i) message[graph_.received[i]] = inputs[i];
  if (graph_.targets >= 0) message[graph_.targets] = targets;
  std::vector<Tensor>& sent = outputs_[output_buffer(micro)];
  sent.clear();
  for (const int v : graph_.sent) {
    sent.push_back(plan_.value[v] ? view(*plan_.value[v], micro) : message[v]);
  }
}

void StageTensors::set_output_grads(const char* operation, std::span<const Tensor> grads,
                                    std::int64_t micro) {
  check_count(operation, "output gradient", grads, graph_.gradients_received.size());
  for (std::size_t i = 0; i < grads.size(); ++i) {
    const StageValue& value = graph_.values[graph_.gradients_received[i]];
    if (value.hands_gradient_on()) continue;
    check_tensor(arena_.device(), operation, "output_grad", grads[i], value.spec);
  }
  arena_.take(plan_.gradient_slots, gradient_slots_.take(micro));
  if (!received_gradients_.has(micro)) received_gradients_.take(micro);
  std::vector<Tensor>& message =
      output_grads_[static_cast<std::size_t>(received_gradients_.of(micro))];
  for (std::size_t i = 0; i < grads.size(); ++i) message[graph_.gradients_received[i]] = grads[i];
  std::vector<Tensor>& sent = input_grads_[gradient_buffer(micro)];
  sent.clear();
  for (const int v : graph_.gradients_sent) sent.push_back(gradient(v, micro));
}

void StageTensors::take_slot(std::int64_t micro) {
  arena_.take(plan_.slots, slots_.take(micro));
}

void StageTensors::give_slot(std::int64_t micro) {
  arena_.give(plan_.slots, slots_.give(micro));
}

void StageTensors::give_gradients(std::int64_t micro) {
  arena_.give(plan_.gradient_slots, gradient_slots_.give(micro));
  received_gradients_.give(micro);
}

const std::vector<Tensor>& StageTensors::outputs(std::int64_t micro) const {
  return outputs_[output_buffer(micro)];
}

const std::vector<Tensor>& StageTensors::input_grads(std::int64_t micro) const {
  return input_grads_[gradient_buffer(micro)];
}

// Which of a region's buffers the micro-batch has.
int StageTensors::index_of(int region, std::int64_t micro) const {
  if (region == plan_.slots) return slots_.of(micro);
  if (region == plan_.gradient_slots) return gradient_slots_.of(micro);
  if (region == plan_.received_gradients) return received_gradients_.of(micro);
  if (region == plan_.received_activations || region == plan_.checkpoints) {
    return received_.of(micro);
  }
  const int count = plan_.arena.regions()[region].count;
  const bool in_turn = region == plan_.outputs || region == plan_.input_gradients;
  return static_cast<int>((in_turn ? number_of(micro) : static_cast<std::size_t>(micro)) % count);
}

Tensor StageTensors::view(const Place& place, std::int64_t micro) const {
  return arena_.view(place.region, index_of(place.region, micro), place.offset, place.spec);
}

Tensor StageTensors::view(const MaybePlace& place, std::int64_t micro) const {
  return place ? view(*place, micro) : Tensor{};
}

const Tensor& StageTensors::received(int v, std::int64_t micro) const {
  return inputs_[static_cast<std::size_t>(received_.of(micro))][v];
}

const Tensor& StageTensors::received_gradient(int v, std::int64_t micro) const {
  return output_grads_[static_cast<std::size_t>(received_gradients_.of(micro))][v];
}

Tensor StageTensors::value(int v, std::int64_t micro, int second_from) const {
  const int maker = graph_.values[v].maker;
  if (maker < 0) return received(v, micro);
  const bool again = plan_.second[v] && maker >= second_from;
  return view(again ? *plan_.second[v] : *plan_.value[v], micro);
}

Tensor StageTensors::gradient(int v, std::int64_t micro) const {
  if (plan_.gradient[v]) return view(*plan_.gradient[v], micro);
  return graph_.values[v].gradient_from_next ? received_gradient(v, micro) : Tensor{};
}

}  // namespace stagecoach
