#include "pipeline/memory_plan/order.h"

namespace stagecoach {

MicroBatchOrder::MicroBatchOrder(const StageGraph& graph, const StageMemory& stage)
    : segment_of(graph.layers.size()),
      forward(graph.layers.size()),
      backward(graph.layers.size()),
      weight(graph.layers.size()) {
  const int all = graph.size();
  const int layers = graph.has_next ? all : all - 1;  // the loss is in the last segment
  const int length =
      stage.recomputes && stage.recompute_interval > 0 ? stage.recompute_interval : layers;
  for (int first = 0; first < layers; first += length) segments.push_back(first);
  int time = 0, end = all;
  for (int segment = static_cast<int>(segments.size()) - 1; segment >= 0; --segment) {
    const int first = segments[segment];
    for (int i = first; i < end; ++i) segment_of[i] = segment;
    for (int i = first; i < end; ++i) forward[i] = time++;
    for (int i = end - 1; i >= first; --i) backward[i] = time++;
    for (int i = end - 1; i >= first; --i) weight[i] = time++;
    end = first;
  }
  for (const LayerPlan& layer : graph.layers) has_weights.push_back(!layer.parameters.empty());
}

}  // namespace stagecoach
