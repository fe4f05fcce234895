// From a stopwatch's times (comm/decider.h) to the step that predict() simulates. Pure functions.
// Free of torch.
#pragma once
#include <cstdint>
#include <vector>

#include "comm/decider.h"
#include "comm/plan/predict.h"

namespace terse {

// Component by component; the upper one of two.
StepTimes median(const std::vector<StepTimes>& times);

// `times`: of quiet steps, in which nothing but computing took time. `cores`: of this rank.
StepModel step_model(const StepTimes& times, int64_t cores, int64_t ranks);

}  // namespace terse
