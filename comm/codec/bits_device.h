// The b-bit codec on a GPU (Codec::bind_device): bits_device_cuda.cc, or without CUDA in the build
// an Error(usage). What is no element's (widths, padding) is written but not compared: a message's
// length and header are.
#pragma once
#include <memory>
#include <vector>

#include "comm/codec/bits.h"
#include "comm/codec/codec.h"

namespace terse {

// bits[s] is segment s's.
std::unique_ptr<BoundCodec> bind_bits_device(const Bucket& bucket, std::vector<Range> parts,
                                             const BitsOptions& options,
                                             const std::vector<int>& bits, DeviceStream stream);

}  // namespace terse
