// Launchers of qat/quantize.cu on device memory; asynchronous on `stream`. A row must fit in shared
// memory (228 KiB on sm_90: 58,000 columns; 163 KiB on sm_80). With a mask, the group must be a
// multiple of 8.
#pragma once
#include <cuda_runtime_api.h>

namespace terse::gpu {

struct RowSource {  // one of them
  const float* f32;
  const unsigned short* bf16;
};

struct RowTarget {  // each may be null
  signed char* codes;
  float* scales;
  float* f32;
  unsigned short* bf16;
  unsigned char* mask;
};

enum class ScaleStorage : int { f32, f16, bf16, f16_7bit, e8m0, e4m3 };  // qat/scale_type.h

// Grid and Estimator of qat/, flattened: rule, rounding and estimator are their enums' values.
struct QuantizeSpec {
  int rule, rounding, estimator;
  int group, block;
  ScaleStorage scale;
  bool given, ggml, dynamic;
  float least, most, offset, unit, step, eps;
  float least_scale, largest_scale, tensor_scale, gap;
  float strength, reach, rotation_scale;
};

cudaError_t launch_quantize(const QuantizeSpec& spec, const RowSource& in, const RowTarget& out,
                            long long rows, int columns, cudaStream_t stream);
// statistics[row]: qat/quantize.h, row_statistics().
cudaError_t launch_statistics(const QuantizeSpec& spec, const RowSource& in, float* statistics,
                              long long rows, int columns, cudaStream_t stream);
cudaError_t launch_rotate(const RowSource& in, const unsigned char* mask, const RowTarget& out,
                          long long rows, int columns, int block, float scale, cudaStream_t stream);
cudaError_t launch_decode(const signed char* codes, const float* scales, long long rows,
                          int columns, int group, float offset, float unit, const RowTarget& out,
                          cudaStream_t stream);

}  // namespace terse::gpu
