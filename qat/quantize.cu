// CUDA twins of kernels/quantize_rows.cc and kernels/rotate_rows.cc: 64 threads a row, which is in
// shared memory as fp32. Sums take the CPU's order and products are never fused with additions, so
// that codes, scales and masks are the CPU's bit for bit.
#include "qat/quantize_cuda.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

namespace terse::gpu {
namespace {

constexpr int kThreads = 64;

__device__ float load(const RowSource& in, long long at) {
  return in.f32 ? in.f32[at] : __uint_as_float(static_cast<unsigned>(in.bf16[at]) << 16);
}

__device__ unsigned short bf16_bits(float x) {
  const unsigned u = __float_as_uint(x);
  if ((u & 0x7fffffffu) > 0x7f800000u) return static_cast<unsigned short>((u >> 16) | 0x40u);
  return static_cast<unsigned short>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}

__device__ void fwht(float* row, int columns, int block, float scale) {
  for (int stride = 1; stride < block; stride *= 2) {
    __syncthreads();
    for (int i = threadIdx.x; i < columns / 2; i += kThreads) {
      const int low = i / stride * 2 * stride + i % stride;
      const float a = row[low], b = row[low + stride];
      row[low] = __fadd_rn(a, b);
      row[low + stride] = __fsub_rn(a, b);
    }
  }
  __syncthreads();
  for (int i = threadIdx.x; i < columns; i += kThreads) row[i] = __fmul_rn(row[i], scale);
  __syncthreads();
}

// Mean of squares, or of magnitudes. All threads get the value. `part` has 64 floats.
__device__ float mean_of(const float* z, int n, bool squares, float* part) {
  const auto term = [=](int i) { return squares ? __fmul_rn(z[i], z[i]) : fabsf(z[i]); };
  const int t = threadIdx.x, whole = n / kThreads * kThreads;
  float sum = 0.0f;
  for (int i = t; i < whole; i += kThreads) sum = __fadd_rn(sum, term(i));
  for (int i = whole + t; t < 16 && i < n; i += 16) sum = __fadd_rn(sum, term(i));
  part[t] = sum;
  __syncthreads();
  if (t < 16)
    part[t] = __fadd_rn(__fadd_rn(part[t], part[t + 16]), __fadd_rn(part[t + 32], part[t + 48]));
  for (int width = 8; width > 0; width /= 2) {
    __syncthreads();
    if (t < width) part[t] = __fadd_rn(part[t], part[t + width]);
  }
  __syncthreads();
  const float total = part[0];
  __syncthreads();
  return __fdiv_rn(total, static_cast<float>(n));
}

// The first value of largest magnitude; NaN and infinity win, as they have the largest bits.
__device__ float first_largest(const float* z, int n, float* part) {
  const int t = threadIdx.x;
  int best = 0;
  for (int i = t + kThreads; i < n; i += kThreads)
    if (fabsf(z[i]) > fabsf(z[best * kThreads + t]) || isnan(z[i])) best = i / kThreads;
  int* index = reinterpret_cast<int*>(part);
  index[t] = t < n ? best * kThreads + t : 0;
  __syncthreads();
  if (t == 0) {
    for (int k = 1; k < kThreads; ++k) {
      const unsigned a = __float_as_uint(z[index[k]]) & 0x7fffffffu;
      const unsigned b = __float_as_uint(z[index[0]]) & 0x7fffffffu;
      if (a > b || (a == b && index[k] < index[0])) index[0] = index[k];
    }
  }
  __syncthreads();
  const float value = z[index[0]];
  __syncthreads();
  return value;
}

// Nearest even with the last `dropped` bits of the mantissa gone.
__device__ float shortened(float x, int dropped) {
  const unsigned u = __float_as_uint(x), last = u >> dropped & 1u;
  return __uint_as_float((u + ((1u << (dropped - 1)) - 1u) + last) >> dropped << dropped);
}

__device__ float rounded(const QuantizeSpec& spec, float scale) {
  float near = scale;
  switch (spec.scale) {
    case ScaleStorage::f32:
      return scale;
    case ScaleStorage::f16:
      return __half2float(__float2half_rn(scale));
    case ScaleStorage::bf16:
      return __bfloat162float(__float2bfloat16_rn(scale));
    case ScaleStorage::f16_7bit:
      near = shortened(scale, 17);
      break;
    case ScaleStorage::e8m0:
      near = shortened(scale, 23);
      break;
    case ScaleStorage::e4m3:
      near = shortened(scale, 20);
      break;
  }
  return near <= spec.largest_scale ? near : __int_as_float(0x7f800000);
}

// By the values of ScaleRule.
enum Rule { kRms, kSignedMax, kAbsmax, kLearned, kAbsmean, kMxFloor, kMxRound };

__device__ float statistic_of(const QuantizeSpec& spec, const float* z, int n, float* part) {
  if (spec.rule == kRms || spec.rule == kAbsmean) return mean_of(z, n, spec.rule == kRms, part);
  const float largest = first_largest(z, n, part);
  return spec.rule == kSignedMax ? largest : fabsf(largest);
}

__device__ float scale_from(const QuantizeSpec& spec, float statistic) {
  if (spec.rule == kRms) return __fadd_rn(__fmul_rn(spec.step, __fsqrt_rn(statistic)), spec.eps);
  if (spec.rule == kAbsmean) {
    const float scale = __fmul_rn(spec.step, statistic);
    return scale < spec.eps ? spec.eps : scale;
  }
  if (spec.rule != kMxFloor && spec.rule != kMxRound) return __fdiv_rn(statistic, spec.step);
  if (!isfinite(statistic)) return statistic;
  const unsigned bump = spec.rule == kMxRound ? 1u << 21 : 0u;
  const unsigned exponent = (__float_as_uint(statistic) + bump) >> 23;
  return __uint_as_float((exponent > 3u ? exponent - 2u : 1u) << 23);
}

struct Scale {
  float stored, inverse;
};

// As dynamic grids have it (kernels/scales.h).
__device__ float dynamic_e4m3(float scale) {
  if (scale >= 448.0f) return 448.0f;
  if (scale >= 0x1p-6f) return shortened(scale, 20);
  const float near = __fsub_rn(__fadd_rn(scale, 0x1.8p14f), 0x1.8p14f);
  return near == 0.0f ? 0.125f : near;
}

__device__ Scale scale_of(const QuantizeSpec& spec, const float* z, int n, float* part) {
  const float scale = scale_from(spec, statistic_of(spec, z, n, part));
  if (!isfinite(scale)) return {nanf(""), 0.0f};
  if (spec.dynamic && spec.scale == ScaleStorage::e4m3) {
    const float dynamic = dynamic_e4m3(__fdiv_rn(scale, spec.tensor_scale));
    return {dynamic, __fdiv_rn(1.0f, __fmul_rn(dynamic, spec.tensor_scale))};
  }
  float stored = rounded(spec, __fdiv_rn(scale, spec.tensor_scale));
  const bool small = fabsf(stored) < spec.least_scale;
  if (small) stored = spec.least_scale;
  if (!isfinite(stored)) return {nanf(""), 0.0f};
  const float divisor = spec.ggml && !small ? scale : __fmul_rn(stored, spec.tensor_scale);
  return {stored, __fdiv_rn(1.0f, divisor)};
}

// A step that is given; NaN where the values are not finite, so that the loss shows it.
__device__ Scale given_scale(float stored, const float* z, int n, float* part) {
  if (!isfinite(first_largest(z, n, part))) return {nanf(""), 0.0f};
  return {stored, __fdiv_rn(1.0f, stored)};
}

// NaN becomes `low`, as on the CPU.
__device__ float clamp(float x, float low, float high) {
  x = x > low ? x : low;
  return x < high ? x : high;
}

// To the nearest E2M1 value, doubled; NaN becomes a zero.
__device__ float fp4_code(float t, float most) {
  const float size = clamp(fabsf(t), 0.0f, most);
  const float distance = size < 4.0f ? 1.0f : size < 8.0f ? 2.0f : 4.0f;
  return copysignf(rintf(size / distance) * distance, t);
}

// `step`: the value of a step of the code, and its inverse.
__device__ float code_of(const QuantizeSpec& spec, float z, float step, float inverse) {
  const bool quotient = spec.rounding == 5 || spec.rounding == 6;
  const float t = quotient ? __fdiv_rn(z, step) : __fmul_rn(z, inverse);
  switch (spec.rounding) {  // by the values of Rounding
    case 0:
      return floorf(clamp(t, spec.least, spec.most + 0.5f));
    case 1:
    case 5:
      return rintf(clamp(t, spec.least, spec.most));
    case 2:
      return truncf(clamp(__fadd_rn(t, 0.5f - spec.least), 0.0f, spec.most - spec.least)) +
             spec.least;
    case 3:
      return roundf(clamp(t, spec.least, spec.most));
    default:
      return fp4_code(t, spec.most);
  }
}

// `step`: the value of a step of the code.
__device__ bool passes(const QuantizeSpec& spec, float z, float zq, float step, float inverse) {
  if (spec.estimator == 3) {
    const float t = __fmul_rn(z, inverse);
    return t >= spec.least + spec.offset && t <= spec.most + spec.offset;
  }
  const float size = fabsf(step);
  if (spec.estimator == 0) return fabsf(z) <= __int_as_float(0x7f800000);
  if (spec.estimator == 1) return fabsf(z) <= __fmul_rn(__fmul_rn(spec.strength, spec.reach), size);
  const float wide = __fmul_rn(spec.gap, size);
  const float bound = __fmul_rn(__fmul_rn(__fmul_rn(spec.strength, wide), 0.5f), 1.0f + 1e-6f);
  return fabsf(__fsub_rn(zq, z)) <= bound;
}

// One row into shared memory, in the stored space.
__device__ void load_row(const QuantizeSpec& spec, const RowSource& in, int columns, float* row) {
  const long long start = static_cast<long long>(blockIdx.x) * columns;
  for (int i = threadIdx.x; i < columns; i += kThreads) row[i] = load(in, start + i);
  __syncthreads();
  if (spec.block > 1) fwht(row, columns, spec.block, spec.rotation_scale);
}

__global__ void statistics_kernel(QuantizeSpec spec, RowSource in, float* statistics, int columns) {
  extern __shared__ float row[];
  __shared__ float part[kThreads];
  load_row(spec, in, columns, row);
  float value = 0.0f;
  if (spec.group < 0) {
    value = statistic_of(spec, row, columns, part);
  } else {
    const int group = spec.group == 0 ? columns : spec.group;
    for (int c = 0; c < columns; c += group) {
      const float scale = scale_from(spec, statistic_of(spec, row + c, group, part));
      if (!(scale <= value)) value = scale;
    }
  }
  if (threadIdx.x == 0) statistics[blockIdx.x] = value;
}

__global__ void quantize_kernel(QuantizeSpec spec, RowSource in, RowTarget out, int columns) {
  extern __shared__ float row[];
  __shared__ float part[kThreads];
  const long long start = static_cast<long long>(blockIdx.x) * columns;
  load_row(spec, in, columns, row);
  const int group = spec.group <= 0 ? columns : spec.group, groups = columns / group;
  unsigned char* mask =
      out.mask ? out.mask + static_cast<long long>(blockIdx.x) * ((columns + 7) / 8) : nullptr;
  for (int g = 0; g < groups; ++g) {
    const long long at = spec.group < 0 ? 0 : static_cast<long long>(blockIdx.x) * groups + g;
    const Scale scale = spec.given ? given_scale(out.scales[at], row + g * group, group, part)
                                   : scale_of(spec, row + g * group, group, part);
    if (out.scales && threadIdx.x == 0 && !spec.given) out.scales[at] = scale.stored;
    const float inverse = __fmul_rn(scale.inverse, 1.0f / spec.unit);
    const float step = __fmul_rn(scale.stored, spec.unit * spec.tensor_scale);
    for (int first = 0; first < group; first += kThreads) {
      const int i = first + static_cast<int>(threadIdx.x), column = g * group + i;
      bool pass = false;
      if (i < group) {
        const float q = code_of(spec, row[column], step, inverse);
        const float zq = __fmul_rn(__fadd_rn(q, spec.offset), step);
        pass = passes(spec, row[column], zq, step, inverse);
        if (out.codes) out.codes[start + column] = static_cast<signed char>(q);
        if (out.f32) out.f32[start + column] = zq;
        if (out.bf16) out.bf16[start + column] = bf16_bits(zq);
      }
      // The loop is uniform, so that every lane of a warp votes, past the end of the group too.
      const unsigned bits = __ballot_sync(0xffffffffu, pass);
      const int lane = static_cast<int>(threadIdx.x) % 32;
      if (mask && i < group && lane % 8 == 0)
        mask[column / 8] = static_cast<unsigned char>(bits >> lane);
    }
  }
}

__global__ void rotate_kernel(RowSource in, const unsigned char* mask, RowTarget out, int columns,
                              int block, float scale) {
  extern __shared__ float row[];
  const long long start = static_cast<long long>(blockIdx.x) * columns;
  const unsigned char* bits =
      mask ? mask + static_cast<long long>(blockIdx.x) * ((columns + 7) / 8) : nullptr;
  for (int i = threadIdx.x; i < columns; i += kThreads)
    row[i] = bits == nullptr || (bits[i / 8] >> (i % 8) & 1) ? load(in, start + i) : 0.0f;
  __syncthreads();
  if (block > 1) fwht(row, columns, block, scale);
  for (int i = threadIdx.x; i < columns; i += kThreads) {
    if (out.f32) out.f32[start + i] = row[i];
    if (out.bf16) out.bf16[start + i] = bf16_bits(row[i]);
  }
}

__global__ void decode_kernel(const signed char* codes, const float* scales, long long count,
                              long long group, float offset, float unit, RowTarget out) {
  const long long i = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= count) return;
  const float scale = __fmul_rn(scales[i / group], unit);
  const float v = __fmul_rn(__fadd_rn(static_cast<float>(codes[i]), offset), scale);
  if (out.f32) out.f32[i] = v;
  if (out.bf16) out.bf16[i] = bf16_bits(v);
}

size_t shared_bytes(int columns) {
  return static_cast<size_t>(columns) * sizeof(float);
}

// A row that needs more shared memory than the default must ask for it.
template <typename Kernel>
cudaError_t allow_shared(Kernel* kernel, int columns) {
  if (shared_bytes(columns) <= 48 * 1024) return cudaSuccess;
  return cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                              static_cast<int>(shared_bytes(columns)));
}

}  // namespace

cudaError_t launch_quantize(const QuantizeSpec& spec, const RowSource& in, const RowTarget& out,
                            long long rows, int columns, cudaStream_t stream) {
  if (rows == 0 || columns == 0) return cudaSuccess;
  const cudaError_t allowed = allow_shared(quantize_kernel, columns);
  if (allowed != cudaSuccess) return allowed;
  quantize_kernel<<<static_cast<unsigned>(rows), kThreads, shared_bytes(columns), stream>>>(
      spec, in, out, columns);
  return cudaGetLastError();
}

cudaError_t launch_statistics(const QuantizeSpec& spec, const RowSource& in, float* statistics,
                              long long rows, int columns, cudaStream_t stream) {
  if (rows == 0 || columns == 0) return cudaSuccess;
  const cudaError_t allowed = allow_shared(statistics_kernel, columns);
  if (allowed != cudaSuccess) return allowed;
  statistics_kernel<<<static_cast<unsigned>(rows), kThreads, shared_bytes(columns), stream>>>(
      spec, in, statistics, columns);
  return cudaGetLastError();
}

cudaError_t launch_rotate(const RowSource& in, const unsigned char* mask, const RowTarget& out,
                          long long rows, int columns, int block, float scale,
                          cudaStream_t stream) {
  if (rows == 0 || columns == 0) return cudaSuccess;
  const cudaError_t allowed = allow_shared(rotate_kernel, columns);
  if (allowed != cudaSuccess) return allowed;
  rotate_kernel<<<static_cast<unsigned>(rows), kThreads, shared_bytes(columns), stream>>>(
      in, mask, out, columns, block, scale);
  return cudaGetLastError();
}

cudaError_t launch_decode(const signed char* codes, const float* scales, long long rows,
                          int columns, int group, float offset, float unit, const RowTarget& out,
                          cudaStream_t stream) {
  const long long count = rows * columns;
  if (count == 0) return cudaSuccess;
  const long long shared = group < 0 ? count : group == 0 ? columns : group;
  decode_kernel<<<static_cast<unsigned>((count + 255) / 256), 256, 0, stream>>>(
      codes, scales, count, shared, offset, unit, out);
  return cudaGetLastError();
}

}  // namespace terse::gpu
