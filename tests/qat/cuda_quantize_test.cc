// The row kernels on a GPU against those of the CPU, bit for bit.
#include <gtest/gtest.h>

#include "base/half.h"
#include "qat/quantize_gpu.h"
#include "tests/qat/rows.h"
#include "tests/support/gpu.h"

namespace terse {
namespace {

using testing::gpu_stream;
using testing::OnGpu;

// Rows in device memory, as fp32 or bf16.
struct Rows {
  Rows(const std::vector<float>& x, int64_t row_count, int64_t column_count, bool bf16)
      : f32(bf16 ? std::vector<float>{} : x), half(bf16 ? rounded(x) : std::vector<uint16_t>{}) {
    in = {.f32 = bf16 ? nullptr : f32.data(),
          .bf16 = bf16 ? half.data() : nullptr,
          .rows = row_count,
          .columns = column_count};
  }
  static std::vector<uint16_t> rounded(const std::vector<float>& x) {
    std::vector<uint16_t> half(x.size());
    for (size_t i = 0; i < x.size(); ++i) half[i] = bf16_from_float(x[i]);
    return half;
  }
  OnGpu<float> f32;
  OnGpu<uint16_t> half;
  RowsIn in;
};

// Fills with another value than the CPU's, so that what nobody wrote shows.
Result on_gpu(const Grid& grid, const Estimator& estimator, const RowsIn& in, const Result& like,
              bool with_mask) {
  const OnGpu<int8_t> codes(std::vector<int8_t>(like.codes.size(), 99));
  const OnGpu<float> scales(std::vector<float>(like.scales.size(), 99));
  const OnGpu<float> f32(std::vector<float>(like.f32.size(), 99));
  const OnGpu<uint16_t> bf16(std::vector<uint16_t>(like.bf16.size(), 99));
  const OnGpu<uint8_t> mask(std::vector<uint8_t>(like.mask.size(), 99));
  gpu::quantize_rows({grid, estimator}, in,
                     {.codes = codes.data(),
                      .scales = scales.data(),
                      .f32 = f32.data(),
                      .bf16 = bf16.data(),
                      .mask = with_mask ? mask.data() : nullptr},
                     gpu_stream());
  return {codes.host(), scales.host(), f32.host(), bf16.host(),
          with_mask ? mask.host() : like.mask};
}

TEST(CudaQuantize, EqualsTheCpuBitForBit) {
  TERSE_NEEDS_GPUS(1);
  const Estimator estimators[] = {{Estimator::Kind::trust, 1.0f},
                                  {Estimator::Kind::clip, 1.3f},
                                  {Estimator::Kind::straight_through, 1.0f}};
  for (const Shape& shape : kShapes) {
    std::vector<float> x = normal(shape.rows * shape.columns, 7);
    if (x.size() > 8) x[3] = 0.0f, x[5] = -40.0f, x[6] = 1e-42f, x[7] = -0.0f;
    const std::vector<uint16_t> half = Rows::rounded(x);
    for (const bool bf16 : {false, true}) {
      const Rows device(x, shape.rows, shape.columns, bf16);
      const RowsIn host{.f32 = bf16 ? nullptr : x.data(),
                        .bf16 = bf16 ? half.data() : nullptr,
                        .rows = shape.rows,
                        .columns = shape.columns};
      for (const Grid& grid : grids(shape))
        for (const Estimator& estimator : estimators) {
          const std::string what = to_string(grid.format) + " columns " +
                                   std::to_string(shape.columns) + (bf16 ? " bf16" : "");
          const Result cpu = quantized(grid, estimator, host);
          // Masks of other groups are refused on a GPU.
          const bool masked = grid.format.group % 8 == 0;
          const Result gpu = on_gpu(grid, estimator, device.in, cpu, masked);
          EXPECT_TRUE(same_bytes(gpu.codes, cpu.codes)) << what;
          EXPECT_TRUE(same_bytes(gpu.scales, cpu.scales)) << what;
          EXPECT_TRUE(same_bytes(gpu.f32, cpu.f32)) << what;
          EXPECT_TRUE(same_bytes(gpu.bf16, cpu.bf16)) << what;
          EXPECT_TRUE(same_bytes(gpu.mask, cpu.mask)) << what;
        }
    }
  }
}

TEST(CudaQuantize, DecodesToTheBitsOfTheCpu) {
  TERSE_NEEDS_GPUS(1);
  for (const Shape& shape : kShapes)
    for (const Grid& grid : grids(shape)) {
      const std::vector<float> x = normal(shape.rows * shape.columns, 8);
      const Result cpu =
          quantized(grid, {}, {.f32 = x.data(), .rows = shape.rows, .columns = shape.columns});
      const OnGpu<int8_t> codes(cpu.codes);
      const OnGpu<float> scales(cpu.scales), f32(std::vector<float>(x.size(), 9));
      const OnGpu<uint16_t> bf16(std::vector<uint16_t>(x.size(), 9));
      gpu::decode_rows({.codes = codes.data(),
                        .scales = scales.data(),
                        .rows = shape.rows,
                        .columns = shape.columns,
                        .group = shape.group,
                        .offset = grid.format.offset},
                       f32.data(), bf16.data(), gpu_stream());
      EXPECT_TRUE(same_bytes(f32.host(), cpu.f32)) << to_string(grid.format);
      EXPECT_TRUE(same_bytes(bf16.host(), cpu.bf16)) << to_string(grid.format);
    }
}

TEST(CudaQuantize, RotatesToTheBitsOfTheCpu) {
  TERSE_NEEDS_GPUS(1);
  for (const Shape& shape : kShapes)
    for (const bool masked : {false, true})
      for (const bool bf16 : {false, true}) {
        const std::vector<float> x = normal(shape.rows * shape.columns, 9);
        const std::vector<uint16_t> half = Rows::rounded(x);
        std::vector<uint8_t> mask(static_cast<size_t>(shape.rows * mask_stride(shape.columns)));
        for (size_t i = 0; i < mask.size(); ++i) mask[i] = static_cast<uint8_t>(i * 37 + 11);
        std::vector<float> f32(x.size());
        std::vector<uint16_t> rounded(x.size());
        rotate_rows({.f32 = bf16 ? nullptr : x.data(),
                     .bf16 = bf16 ? half.data() : nullptr,
                     .rows = shape.rows,
                     .columns = shape.columns},
                    masked ? mask.data() : nullptr, shape.hadamard, f32.data(), rounded.data());
        const Rows device(x, shape.rows, shape.columns, bf16);
        const OnGpu<uint8_t> device_mask(mask);
        const OnGpu<float> device_f32(std::vector<float>(x.size(), 9));
        const OnGpu<uint16_t> device_bf16(std::vector<uint16_t>(x.size(), 9));
        gpu::rotate_rows(device.in, masked ? device_mask.data() : nullptr, shape.hadamard,
                         device_f32.data(), device_bf16.data(), gpu_stream());
        EXPECT_TRUE(same_bytes(device_f32.host(), f32)) << shape.columns << " " << bf16;
        EXPECT_TRUE(same_bytes(device_bf16.host(), rounded)) << shape.columns << " " << bf16;
      }
}

}  // namespace
}  // namespace terse
