#include "base/error.h"
#include "comm/codec/onebit_device.h"

namespace terse {

std::unique_ptr<BoundCodec> bind_onebit_device(const Bucket&, std::vector<Range>,
                                               const OneBitOptions&, DeviceStream) {
  fail(ExitCode::usage,
       "this build has no CUDA kernels; build the `cuda` preset, or use [train] device = \"cpu\"");
}

}  // namespace terse
