// Whole steps of a Reducer, watched as exchanges are.
#pragma once
#include "comm/group.h"

namespace terse::testing {

void check_steady_steps(const Group& group);

}  // namespace terse::testing
