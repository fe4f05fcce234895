#include "comm/codec/kernels/fence.h"

#include "comm/codec/kernels/simd16.h"

namespace terse::TERSE_ISA {

void codec_fence() {
  stream_fence();
}

}  // namespace terse::TERSE_ISA
