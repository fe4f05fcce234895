// Whether a rank can compute on a GPU of its own, and which one that is.
//
// make_group() with GroupOptions::cuda makes that GPU the calling thread's current device, and
// throws Error(usage) where there is none or with another backend than NCCL. Point-to-point
// messages then know no channels, and two ranks must not both begin with send().
#pragma once
#include <c10/core/Device.h>

#include <string>

#include "comm/group.h"
#include "launch/world.h"

namespace terse {

// Why not; empty if it can: the build has CUDA and NCCL, `backend` is NCCL or left open, and this
// machine has a GPU for each of its ranks. `world.local_rank` must be known (join()).
std::string gpu_problem(const World& world, BackendKind backend);

// The GPU of this rank, cuda:local_rank.
c10::Device gpu_of(const World& world);

// Makes a GPU the current one of the calling thread, for kernels and streams that name none. A CPU
// is left alone.
void set_current_device(c10::Device device);

}  // namespace terse
