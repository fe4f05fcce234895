#include "qat/quantize_gpu.h"

#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "qat/quantize_cuda.h"

namespace terse::gpu {
namespace {

cudaStream_t handle(void* stream) {
  return static_cast<cudaStream_t>(stream);
}

void check(cudaError_t status, const char* what, int64_t columns) {
  if (status != cudaSuccess)
    fail(ExitCode::usage, "{} of rows of {} columns failed on the GPU: {}", what, columns,
         cudaGetErrorString(status));
}

QuantizeSpec spec_of(const Grid& grid, const Estimator& estimator, float tensor_scale) {
  const CodeFormat& format = grid.format;
  const float down = -(static_cast<float>(format.code_min) + format.offset);
  const float up = static_cast<float>(format.code_max) + format.offset;
  const bool fp4 = grid.rounding == Rounding::fp4 || grid.rounding == Rounding::fp4_quotient;
  const float gap = fp4 ? 4.0f : 1.0f;
  return {.rule = static_cast<int>(grid.rule),
          .rounding = static_cast<int>(grid.rounding),
          .estimator = static_cast<int>(estimator.kind),
          .group = static_cast<int>(format.group),
          .block = static_cast<int>(format.hadamard),
          .scale = static_cast<ScaleStorage>(format.scale_type),
          .given = scales_given(grid),
          .ggml = grid.ggml,
          .dynamic = grid.dynamic,
          .least = static_cast<float>(format.code_min),
          .most = static_cast<float>(format.code_max),
          .offset = format.offset,
          .unit = format.unit,
          .step = grid.step,
          .eps = grid.eps,
          .least_scale = grid.least > 0.0f ? grid.least : smallest_normal(format.scale_type),
          .largest_scale = largest_scale(format.scale_type),
          .tensor_scale = grid.dynamic ? grid.second : tensor_scale,
          .gap = gap,
          .strength = estimator.strength,
          .reach = std::max(down, up) + (grid.dynamic ? gap / 2 : 0.0f),
          .rotation_scale = static_cast<float>(
              1.0 / std::sqrt(static_cast<double>(std::max<int64_t>(format.hadamard, 1))))};
}

}  // namespace

void* stream_of(const at::Tensor& t) {
  const c10::impl::VirtualGuardImpl guard(t.device().type());
  return guard.getStream(t.device()).native_handle();
}

void quantize_rows(const Quantizer& quantizer, const RowsIn& in, const RowsOut& out, void* stream) {
  const int64_t group = quantizer.grid.format.group;
  if (out.mask != nullptr && group > 0 && group % 8 != 0)
    fail(ExitCode::usage, "group {} is no multiple of 8, which the GPU's masks need", group);
  check(launch_quantize(
            spec_of(quantizer.grid, quantizer.estimator, out.tensor_scale), {in.f32, in.bf16},
            {reinterpret_cast<signed char*>(out.codes), out.scales, out.f32, out.bf16, out.mask},
            in.rows, static_cast<int>(in.columns), handle(stream)),
        "quantizing", in.columns);
}

void row_statistics(const Grid& grid, const RowsIn& in, float* statistics, void* stream) {
  check(launch_statistics(spec_of(grid, {}, 1.0f), {in.f32, in.bf16}, statistics, in.rows,
                          static_cast<int>(in.columns), handle(stream)),
        "measuring", in.columns);
}

void decode_rows(const CodedRows& in, float* f32, uint16_t* bf16, void* stream) {
  check(launch_decode(reinterpret_cast<const signed char*>(in.codes), in.scales, in.rows,
                      static_cast<int>(in.columns), static_cast<int>(in.group), in.offset, in.unit,
                      {nullptr, nullptr, f32, bf16, nullptr}, handle(stream)),
        "decoding", in.columns);
}

void rotate_rows(const RowsIn& in, const uint8_t* mask, int64_t hadamard, float* f32,
                 uint16_t* bf16, void* stream) {
  const float scale =
      static_cast<float>(1.0 / std::sqrt(static_cast<double>(std::max<int64_t>(hadamard, 1))));
  check(launch_rotate({in.f32, in.bf16}, mask, {nullptr, nullptr, f32, bf16, nullptr}, in.rows,
                      static_cast<int>(in.columns), static_cast<int>(hadamard), scale,
                      handle(stream)),
        "rotating", in.columns);
}

}  // namespace terse::gpu
