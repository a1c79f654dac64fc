// Schedules without a network: tables of actions, made, read, checked, simulated and drawn. Links
// no backend: stagecoach::schedule.
#pragma once

#include "stagecoach/pipeline/picture/ascii.h"
#include "stagecoach/pipeline/picture/svg.h"
#include "stagecoach/pipeline/picture/trace.h"
#include "stagecoach/pipeline/schedule/check.h"
#include "stagecoach/pipeline/schedule/csv.h"
#include "stagecoach/pipeline/schedule/formula.h"
#include "stagecoach/pipeline/schedule/generators.h"
#include "stagecoach/pipeline/schedule/partition.h"
#include "stagecoach/pipeline/schedule/schedule.h"
#include "stagecoach/pipeline/schedule/schedule_file.h"
#include "stagecoach/pipeline/schedule/simulate.h"
#include "stagecoach/pipeline/schedule/text.h"
