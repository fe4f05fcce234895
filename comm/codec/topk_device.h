// The top-k codec on a GPU (Codec::bind_device): topk_device_cuda.cc, or without CUDA in the build
// an Error(usage).
//
// Elements are read, selected and added up on the GPU. What was selected, a thousandth of them, is
// written and read as a message on the host, by the code of the CPU's codec: the bytes, checksum
// included, and the checks of a received message are the same. The price is that encode() and
// decode_sum() wait for the stream, once each (with a mask of live elements encode() waits twice).
#pragma once
#include <memory>
#include <vector>

#include "comm/codec/codec.h"
#include "comm/codec/topk.h"

namespace terse {

// densities[s] is segment s's.
std::unique_ptr<BoundCodec> bind_topk_device(const Bucket& bucket, std::vector<Range> parts,
                                             const TopKOptions& options,
                                             const std::vector<double>& densities,
                                             DeviceStream stream);

}  // namespace terse
