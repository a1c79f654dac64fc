// NormExchange: how the ranks of a replica, in processes of their own, tell each other the sums of
// squares of their gradients (GradientClip).
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "comm/device_link.h"
#include "comm/world.h"
#include "core/stream.h"

namespace stagecoach {

class NormExchange {
 public:
  virtual ~NormExchange() = default;
  // Behind it, all sums are there. Enqueues. All ranks of the replica do it once a step.
  virtual void enqueue(Stream& stream) = 0;
};

// Which sums a rank makes: parts of those of the network.
struct NormPart {
  int process = 0;
  std::vector<std::span<double>> sums;
};

// By messages: each rank's part to all others. `parts`: by rank; `rank`: this one. The sums' memory
// and `world` outlive the exchange.
std::unique_ptr<NormExchange> make_exchanged_norms(World& world, std::vector<NormPart> parts,
                                                   int rank);

// On devices, from neighbour to neighbour: towards the first rank, which most schedules let know
// its sums last, and back from there. `before`, `after`: links of both directions to these ranks,
// null at the ends; `sums`: of the network, which the parts lie in, in memory of the host that the
// device reaches; `memory`: U8 of the device, as many bytes, of this exchange alone.
std::unique_ptr<NormExchange> make_linked_norms(DeviceLink* before, DeviceLink* after,
                                                std::span<double> sums,
                                                const std::vector<NormPart>& parts, int rank,
                                                const Tensor& memory);

}  // namespace stagecoach
