// Streaming stores of the calling thread become visible to others. Once per thread, after its last
// kernel.
#pragma once

namespace terse {
namespace scalar {
void codec_fence();
}
namespace avx2 {
void codec_fence();
}
namespace avx512 {
void codec_fence();
}
}  // namespace terse
