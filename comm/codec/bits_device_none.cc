#include "base/error.h"
#include "comm/codec/bits_device.h"

namespace terse {

// The values would be moved by the other side of this seam.
// NOLINTBEGIN(performance-unnecessary-value-param)
std::unique_ptr<BoundCodec> bind_bits_device(const Bucket&, std::vector<Range>, const BitsOptions&,
                                             const std::vector<int>&, DeviceStream) {
  // NOLINTEND(performance-unnecessary-value-param)
  fail(ExitCode::usage,
       "this build has no CUDA kernels; build the `cuda` preset, or use [train] device = \"cpu\"");
}

}  // namespace terse
