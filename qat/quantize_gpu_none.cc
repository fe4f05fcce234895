// The build without CUDA kernels (TERSE_CUDA=OFF).
#include "base/error.h"
#include "qat/quantize_gpu.h"

namespace terse::gpu {
namespace {

[[noreturn]] void absent() {
  fail(ExitCode::usage,
       "this build has no CUDA kernels; use the preset `cuda`, or [train] device = \"cpu\"");
}

}  // namespace

void* stream_of(const at::Tensor&) {
  absent();
}
void quantize_rows(const Quantizer&, const RowsIn&, const RowsOut&, void*) {
  absent();
}
void row_statistics(const Grid&, const RowsIn&, float*, void*) {
  absent();
}
void decode_rows(const CodedRows&, float*, uint16_t*, void*) {
  absent();
}
void rotate_rows(const RowsIn&, const uint8_t*, int64_t, float*, uint16_t*, void*) {
  absent();
}

}  // namespace terse::gpu
