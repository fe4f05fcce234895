// Are the weights the same bytes on all ranks?
#pragma once
#include <vector>

#include "comm/bucket.h"
#include "comm/group.h"
#include "comm/optimizer.h"

namespace terse {

// Collective: one hash a rank, and one a tensor only when those differ. Error(disagree) names the
// first tensor that differs from rank 0's, and on which ranks. Reads all weights once.
void compare_replicas(Group& group, const BucketPlan& plan,
                      const std::vector<BucketTensors>& tensors);

}  // namespace terse
