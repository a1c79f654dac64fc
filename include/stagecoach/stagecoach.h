// All of Stagecoach: a network of layers, trained by an Engine as a pipeline of stages.
#pragma once

#include "stagecoach/core/error.h"
#include "stagecoach/core/tensor.h"
#include "stagecoach/layers/layers.h"
#include "stagecoach/layers/network.h"
#include "stagecoach/schedule.h"
#include "stagecoach/trainer/engine.h"
