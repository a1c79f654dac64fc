// The report as JSON: what --report writes, and `simulate --costs` reads.
#pragma once

#include <nlohmann/json.hpp>

#include "trainer/report.h"

namespace stagecoach {

// Keys: images_per_second, step_seconds_median, loss_first, loss_last, accuracy (null when not
// asked), data, device, precision, launch, bubble.{measured,predicted,formula,imbalance} (null for
// the plain loop),
// stages[].{first_layer,last_layer,parameters,forward_seconds,backward_input_seconds,
// backward_weight_seconds,wait_seconds,...}, transport.{latency_seconds,bytes_per_second,machines,
// clocks_within_seconds} (null where ranks are threads), memory[].{planned_bytes,peak_bytes}, and
// the rest.
nlohmann::json to_json(const RunReport& report);

}  // namespace stagecoach
