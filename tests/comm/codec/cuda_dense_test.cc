// Dense arrays on a GPU against dense_arrays.h, bit for bit.
#include <gtest/gtest.h>

#include "comm/codec/dense_arrays.h"
#include "comm/codec/dense_device.h"
#include "tests/comm/codec/buckets.h"
#include "tests/support/gpu.h"

namespace terse::testing {
namespace {

// Every upper half with lower halves around the tie: all roundings, NaNs and infinities.
std::vector<float> every_rounding() {
  std::vector<float> all;
  for (uint32_t high = 0; high < 65536; ++high)
    for (const uint32_t low : {0u, 1u, 0x7fffu, 0x8000u, 0x8001u, 0xffffu})
      all.push_back(std::bit_cast<float>(high << 16 | low));
  all.resize(all.size() - 3);  // not a multiple of a block
  return all;
}

TEST(CudaDense, Bf16BothWaysBitForBit) {
  TERSE_NEEDS_GPUS(1);
  const std::vector<float> in = every_rounding();
  const auto n = static_cast<int64_t>(in.size());
  std::vector<uint16_t> half(in.size());
  std::vector<float> back(in.size());
  to_bf16(in.data(), nullptr, n, half.data(), nullptr);
  from_bf16(half.data(), n, back.data());
  const OnGpu<float> device_in(in), device_back(back);
  const OnGpu<uint16_t> device_half(std::vector<uint16_t>(in.size(), 7));
  to_bf16_device(device_in.data(), n, device_half.data(), gpu_stream());
  from_bf16_device(device_half.data(), n, device_back.data(), gpu_stream());
  EXPECT_EQ(device_half.host(), half);
  EXPECT_EQ(patterns(device_back.host()), patterns(back));
}

// 131 rows: more than two launches take.
TEST(CudaDense, SumsRowsInOrder) {
  TERSE_NEEDS_GPUS(1);
  for (const bool bf16 : {false, true})
    for (const int64_t n : {1, 257, 5000})
      for (const size_t rows : {1u, 3u, 131u}) {
        const auto width = static_cast<size_t>(bf16 ? 2 : 4);
        std::vector<std::vector<std::byte>> host;
        std::vector<std::unique_ptr<OnGpu<std::byte>>> device;
        std::vector<const std::byte*> host_rows, device_rows;
        for (size_t k = 0; k < rows; ++k) {
          const auto x = values(n, k);
          std::vector<std::byte> bytes(x.size() * width);
          if (bf16)
            to_bf16(x.data(), nullptr, n, reinterpret_cast<uint16_t*>(bytes.data()), nullptr);
          else
            std::memcpy(bytes.data(), x.data(), bytes.size());
          host.push_back(std::move(bytes));
          device.push_back(std::make_unique<OnGpu<std::byte>>(host.back()));
        }
        for (const auto& row : host) host_rows.push_back(row.data());
        for (const auto& row : device) device_rows.push_back(row->data());
        std::vector<float> expected(static_cast<size_t>(n));
        sum_rows(bf16, host_rows, n, 1.0f / 3, expected.data());
        const OnGpu<float> out(std::vector<float>(expected.size(), 9.0f));
        sum_rows_device(bf16, device_rows, n, 1.0f / 3, out.data(), gpu_stream());
        EXPECT_EQ(patterns(out.host()), patterns(expected)) << n << " x " << rows << " " << bf16;
      }
}

}  // namespace
}  // namespace terse::testing
