// The bubbles that papers give as formulas.
#pragma once

#include "pipeline/schedule/schedule.h"

namespace stagecoach {

// The bubble (idle time over makespan) by formula, for K ranks whose stages are all equal, without
// communication; -1 where there is no formula that is exact:
//   naive                        1 - 1 / K
//   gpipe, 1f1b, forward-only    (K - 1) / (M + K - 1)
//   interleaved, if M >= K       (K - 1) / (V M + K - 1), V stages on each rank (Narayanan et al.
//                                2021; there for M a multiple of K)
// and when F, B and W take the same time:
//   zb-h1, if M >= K             (K - 1) / (3 M + K - 1) (Qi et al. 2023)
//   zb-v, if M >= 2 K - 1        (K - 1) / (6 M + K - 1): all of it before a rank's first action
//                                and after its last, so 0 as Qi et al. 2024 count
//   dualpipe-v                   (K - 1) / (6 M + K - 1); its F and BW one after the other
double textbook_bubble(const Schedule& schedule);
// That formula in words: "(K-1)/(M+K-1)"; empty where there is none.
const char* textbook_formula(const Schedule& schedule);

}  // namespace stagecoach
