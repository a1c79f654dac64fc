#include "pipeline/state_dict.h"

#include <algorithm>
#include <cmath>

#include "core/bfloat16.h"
#include "core/copy.h"
#include "core/error.h"

namespace stagecoach {
namespace {

template <typename T>
bool all_finite_as(const Tensor& tensor) {
  const T* data = tensor.as<T>();
  return std::all_of(data, data + tensor.elements(),
                     [](T x) { return std::isfinite(static_cast<float>(x)); });
}

}  // namespace

bool all_finite(const Tensor& tensor) {
  if (tensor.spec.dtype == DType::kF32) return all_finite_as<float>(tensor);
  return tensor.spec.dtype != DType::kBF16 || all_finite_as<BFloat16>(tensor);
}

bool all_finite(Stream& stream, const Tensor& tensor) {
  if (tensor.device.type != DeviceType::kCpu) return all_finite(to_host(stream, tensor).tensor);
  stream.synchronize();
  return all_finite(tensor);
}

void StateDict::add(const std::string& name, StateKind kind, const Tensor& tensor) {
  add_part(name, kind, tensor.spec, {0, tensor.elements()}, flat_view(tensor));
}

void StateDict::add_part(const std::string& name, StateKind kind, const TensorSpec& whole,
                         const Elements& part, const Tensor& tensor) {
  STAGECOACH_CHECK(!has(name), "StateDict::add", "a name of its own for each", name + " twice");
  entries_.push_back({name, kind, whole});
  held_.push_back({part, tensor});
}

bool StateDict::is_whole(const std::string& name) const {
  const std::size_t index = index_of(name);
  return held_[index].part.size() == entries_[index].spec.elements();
}

OwnedTensor StateDict::get(const std::string& name) const {
  STAGECOACH_CHECK(is_whole(name), "StateDict::get", "a tensor that is here", name + ": a part");
  OwnedTensor value(entries_[index_of(name)].spec);
  read(name, value.tensor);
  return value;
}

void StateDict::read(const std::string& name, const Tensor& destination) const {
  const std::size_t index = index_of(name);
  check_tensor(Device{}, "StateDict::read", name.c_str(), destination, entries_[index].spec);
  const auto& [part, tensor] = held_[index];
  if (part.size() > 0) copy(stream_, elements_of(flat_view(destination), part), tensor);
  stream_.synchronize();
}

void StateDict::set(const std::string& name, const Tensor& value) {
  const std::size_t index = index_of(name);
  check_tensor(Device{}, "StateDict::set", name.c_str(), value, entries_[index].spec);
  const auto& [part, tensor] = held_[index];
  if (part.size() > 0) copy(stream_, tensor, elements_of(flat_view(value), part));
  stream_.synchronize();
}

bool StateDict::is_finite(const std::string& name) const {
  return all_finite(stream_, held_[index_of(name)].tensor);
}

int StateDict::find(const std::string& name) const {
  const auto found = std::ranges::find(entries_, name, &StateEntry::name);
  return found == entries_.end() ? -1 : static_cast<int>(found - entries_.begin());
}

std::size_t StateDict::index_of(const std::string& name) const {
  const int index = find(name);
  STAGECOACH_CHECK(index >= 0, "StateDict", "the name of a state of the stage", name);
  return static_cast<std::size_t>(index);
}

}  // namespace stagecoach
