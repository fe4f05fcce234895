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

// All threads get the value. `part` has 64 floats.
__device__ float mean_square(const float* z, int n, float* part) {
  const int t = threadIdx.x, whole = n / kThreads * kThreads;
  float sum = 0.0f;
  for (int i = t; i < whole; i += kThreads) sum = __fadd_rn(sum, __fmul_rn(z[i], z[i]));
  for (int i = whole + t; t < 16 && i < n; i += 16) sum = __fadd_rn(sum, __fmul_rn(z[i], z[i]));
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

__device__ float rounded(float scale, ScaleStorage type) {
  if (type == ScaleStorage::f16) return __half2float(__float2half_rn(scale));
  if (type == ScaleStorage::bf16) return __bfloat162float(__float2bfloat16_rn(scale));
  return scale;
}

struct Scale {
  float stored, inverse;
};

__device__ Scale scale_of(const QuantizeSpec& spec, const float* z, int n, float* part) {
  if (spec.rule == 0) {
    const float sigma = __fsqrt_rn(mean_square(z, n, part));
    const float step = __fadd_rn(__fmul_rn(spec.step, sigma), spec.eps);
    if (!isfinite(step)) return {nanf(""), 0.0f};
    const float stored = fmaxf(rounded(step, spec.scale), spec.least_scale);
    if (!isfinite(stored)) return {nanf(""), 0.0f};
    return {stored, __fdiv_rn(1.0f, stored)};
  }
  const float largest = first_largest(z, n, part);
  const float d =
      spec.rule == 1 ? __fdiv_rn(largest, spec.least) : __fdiv_rn(fabsf(largest), spec.most);
  const float stored = rounded(d, spec.scale);
  if (!isfinite(d) || !isfinite(stored)) return {nanf(""), 0.0f};
  return {stored, d == 0.0f ? 0.0f : __fdiv_rn(1.0f, d)};
}

// NaN becomes `low`, as on the CPU.
__device__ float clamp(float x, float low, float high) {
  x = x > low ? x : low;
  return x < high ? x : high;
}

__device__ float code_of(const QuantizeSpec& spec, float z, float inverse) {
  const float t = __fmul_rn(z, inverse);
  switch (spec.rounding) {
    case 0:
      return floorf(clamp(t, spec.least, spec.most + 0.5f));
    case 1:
      return rintf(clamp(t, spec.least, spec.most));
    case 2:
      return truncf(clamp(__fadd_rn(t, 0.5f - spec.least), 0.0f, spec.most - spec.least)) +
             spec.least;
    default:
      return roundf(clamp(t, spec.least, spec.most));
  }
}

__device__ bool passes(const QuantizeSpec& spec, float z, float zq, float stored) {
  const float step = fabsf(stored);
  if (spec.estimator == 0) return fabsf(z) <= __int_as_float(0x7f800000);
  if (spec.estimator == 1) return fabsf(z) <= __fmul_rn(__fmul_rn(spec.strength, spec.reach), step);
  const float bound = __fmul_rn(__fmul_rn(__fmul_rn(spec.strength, step), 0.5f), 1.0f + 1e-6f);
  return fabsf(__fsub_rn(zq, z)) <= bound;
}

__global__ void quantize_kernel(QuantizeSpec spec, RowSource in, RowTarget out, int columns) {
  extern __shared__ float row[];
  __shared__ float part[kThreads];
  const long long start = static_cast<long long>(blockIdx.x) * columns;
  for (int i = threadIdx.x; i < columns; i += kThreads) row[i] = load(in, start + i);
  __syncthreads();
  if (spec.block > 1) fwht(row, columns, spec.block, spec.rotation_scale);
  const int group = spec.group == 0 ? columns : spec.group, groups = columns / group;
  unsigned char* mask =
      out.mask ? out.mask + static_cast<long long>(blockIdx.x) * ((columns + 7) / 8) : nullptr;
  for (int g = 0; g < groups; ++g) {
    const Scale scale = scale_of(spec, row + g * group, group, part);
    if (out.scales && threadIdx.x == 0)
      out.scales[static_cast<long long>(blockIdx.x) * groups + g] = scale.stored;
    for (int first = 0; first < group; first += kThreads) {
      const int i = first + static_cast<int>(threadIdx.x), column = g * group + i;
      bool pass = false;
      if (i < group) {
        const float q = code_of(spec, row[column], scale.inverse);
        const float zq = __fmul_rn(__fadd_rn(q, spec.offset), scale.stored);
        pass = passes(spec, row[column], zq, scale.stored);
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
