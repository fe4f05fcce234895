#include "base/error.h"
#include "comm/codec/topk_device.h"

namespace terse {

// The values would be moved by the other side of this seam.
// NOLINTBEGIN(performance-unnecessary-value-param)
std::unique_ptr<BoundCodec> bind_topk_device(const Bucket&, std::vector<Range>, const TopKOptions&,
                                             const std::vector<double>&, DeviceStream) {
  // NOLINTEND(performance-unnecessary-value-param)
  fail(ExitCode::usage,
       "this build has no CUDA kernels; build the `cuda` preset, or use [train] device = \"cpu\"");
}

}  // namespace terse
