// The row kernels on a GPU against those of the CPU, bit for bit.
#include <gtest/gtest.h>

#include <ATen/ATen.h>

#include "base/half.h"
#include "qat/learned_step.h"
#include "qat/quantize_gpu.h"
#include "qat/tensors.h"
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
  // Scales that are given come from outside.
  const OnGpu<float> scales(scales_given(grid) ? like.scales
                                               : std::vector<float>(like.scales.size(), 99));
  const OnGpu<float> f32(std::vector<float>(like.f32.size(), 99));
  const OnGpu<uint16_t> bf16(std::vector<uint16_t>(like.bf16.size(), 99));
  const OnGpu<uint8_t> mask(std::vector<uint8_t>(like.mask.size(), 99));
  gpu::quantize_rows({grid, estimator}, in,
                     {.codes = codes.data(),
                      .scales = scales.data(),
                      .f32 = f32.data(),
                      .bf16 = bf16.data(),
                      .mask = with_mask ? mask.data() : nullptr,
                      .tensor_scale = like.tensor_scale},
                     gpu_stream());
  return {
      codes.host(),     scales.host(), f32.host(), bf16.host(), with_mask ? mask.host() : like.mask,
      like.tensor_scale};
}

TEST(CudaQuantize, EqualsTheCpuBitForBit) {
  TERSE_NEEDS_GPUS(1);
  const Estimator estimators[] = {{Estimator::Kind::trust, 1.0f},
                                  {Estimator::Kind::clip, 1.3f},
                                  {Estimator::Kind::straight_through, 1.0f},
                                  {Estimator::Kind::lsq, 1.0f}};
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
      for (const Grid& grid : all_grids(shape))
        for (const Estimator& estimator : estimators) {
          const std::string what = to_string(grid.format) + " columns " +
                                   std::to_string(shape.columns) + (bf16 ? " bf16" : "");
          const Result cpu = quantized(grid, estimator, host);
          // Masks of other groups are refused on a GPU.
          const bool masked = grid.format.group <= 0 || grid.format.group % 8 == 0;
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

// Learned steps (qat/lsq.h): given, for groups or for all rows together.
TEST(CudaQuantize, GivenStepsEqualTheCpuBitForBit) {
  TERSE_NEEDS_GPUS(1);
  const std::vector<float> x = normal(5 * 256, 9);
  const RowsIn host{.f32 = x.data(), .rows = 5, .columns = 256};
  const Rows device(x, 5, 256, false);
  const Estimator lsq{Estimator::Kind::lsq, 1.0f};
  for (const int64_t group : {-1, 0, 32}) {
    Grid grid = mse_grid("half_int", 4, group, ScaleType::f32, 128);
    grid.rule = ScaleRule::learned;
    Result cpu;
    cpu.codes.resize(x.size());
    cpu.mask.resize(x.size() / 8);
    cpu.scales.assign(group < 0 ? 1 : group == 0 ? 5 : 40, 0.3f);
    quantize_rows(
        grid, lsq, host,
        {.codes = cpu.codes.data(), .scales = cpu.scales.data(), .mask = cpu.mask.data()});
    const OnGpu<int8_t> codes(std::vector<int8_t>(x.size(), 99));
    const OnGpu<uint8_t> mask(std::vector<uint8_t>(x.size() / 8, 99));
    const OnGpu<float> scales(cpu.scales);
    gpu::quantize_rows({grid, lsq}, device.in,
                       {.codes = codes.data(), .scales = scales.data(), .mask = mask.data()},
                       gpu_stream());
    EXPECT_TRUE(same_bytes(codes.host(), cpu.codes)) << group;
    EXPECT_TRUE(same_bytes(mask.host(), cpu.mask)) << group;
    EXPECT_TRUE(same_bytes(scales.host(), cpu.scales)) << group;
  }
}

TEST(CudaQuantize, StepGradientsAreTheCpus) {
  TERSE_NEEDS_GPUS(1);
  at::manual_seed(4);
  const at::Tensor x = at::randn({40, 256}), d = at::randn({40, 256});
  for (const int64_t group : {-1, 0, 32}) {
    const Quantizer quantizer{learned_grid(mse_grid("int_signed", 4, group, ScaleType::f32, 128)),
                              parse_estimator("lsq", 4)};
    at::Tensor expected;
    for (const at::Device device : {at::Device(at::kCPU), at::Device(at::kCUDA, 0)}) {
      const at::Tensor there = x.to(device);
      LearnedStep step = LearnedStep::of_weight(quantizer.grid.format, there);
      step.refresh("x");
      at::Tensor codes = at::empty_like(there, at::kChar);
      at::Tensor mask = at::empty({40, 32}, there.options().dtype(at::kByte));
      quantize_tensor(quantizer, there, {codes, step.scales().clone(), mask, {}});
      const at::Tensor gradient = step.gradient(there, codes, mask, d.to(device)).cpu();
      if (!expected.defined()) expected = gradient;
      // Sums of 10,240 products in another order.
      EXPECT_TRUE(at::allclose(gradient, expected, 1e-4, 1e-6)) << group;
    }
  }
}

TEST(CudaQuantize, DecodesToTheBitsOfTheCpu) {
  TERSE_NEEDS_GPUS(1);
  for (const Shape& shape : kShapes)
    for (const Grid& grid : all_grids(shape)) {
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
                        .group = grid.format.group,
                        .offset = grid.format.offset,
                        .unit = grid.format.unit * cpu.tensor_scale},
                       f32.data(), bf16.data(), gpu_stream());
      EXPECT_TRUE(same_bytes(f32.host(), cpu.f32)) << to_string(grid.format);
      EXPECT_TRUE(same_bytes(bf16.host(), cpu.bf16)) << to_string(grid.format);
    }
}

TEST(CudaQuantize, MeasuresATensorToTheBitsOfTheCpu) {
  TERSE_NEEDS_GPUS(1);
  for (const Shape& shape : kShapes)
    for (const Grid& grid : tensor_grids(shape)) {
      const std::vector<float> x = normal(shape.rows * shape.columns, 8);
      std::vector<float> cpu(static_cast<size_t>(shape.rows));
      row_statistics(grid, {.f32 = x.data(), .rows = shape.rows, .columns = shape.columns},
                     cpu.data());
      const Rows device(x, shape.rows, shape.columns, false);
      const OnGpu<float> statistics(std::vector<float>(cpu.size(), 9));
      gpu::row_statistics(grid, device.in, statistics.data(), gpu_stream());
      EXPECT_TRUE(same_bytes(statistics.host(), cpu)) << to_string(grid.format);
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
