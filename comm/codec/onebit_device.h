// The 1-bit codec on a GPU (Codec::bind_device): onebit_device_cuda.cc, or without CUDA in the
// build an Error(usage).
#pragma once
#include <memory>
#include <vector>

#include "comm/codec/codec.h"
#include "comm/codec/onebit.h"

namespace terse {

std::unique_ptr<BoundCodec> bind_onebit_device(const Bucket& bucket, std::vector<Range> parts,
                                               const OneBitOptions& options, DeviceStream stream);

}  // namespace terse
