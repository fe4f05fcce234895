#include "comm/codec/dense_arrays.h"

#include <algorithm>
#include <cstring>

#include "base/isa.h"
#include "comm/codec/kernels/dense_kernels.h"
#include "comm/codec/kernels/fence.h"

namespace terse {
namespace {

constexpr int64_t kBlock = 8192;

// Calls work(begin, size) for every block of [0, n).
template <typename Work>
void for_blocks(int64_t n, const Work& work) {
  const int64_t blocks = (n + kBlock - 1) / kBlock;
#pragma omp parallel if (blocks > 4)
  {
#pragma omp for schedule(static)
    for (int64_t b = 0; b < blocks; ++b) work(b * kBlock, std::min(kBlock, n - b * kBlock));
    TERSE_DISPATCH(codec_fence());
  }
}

}  // namespace

void to_bf16(const float* in, const float* residual, int64_t n, uint16_t* out, float* shadow) {
  for_blocks(n, [&](int64_t at, int64_t size) {
    if (residual == nullptr && shadow == nullptr) {
      TERSE_DISPATCH(bf16_encode(in + at, size, out + at));
      return;
    }
    float rest[kBlock];
    float none[kBlock];
    if (residual == nullptr) std::fill_n(none, size, 0.0f);
    const float* from = residual == nullptr ? none : residual + at;
    float* to = shadow == nullptr ? rest : shadow + at;
    TERSE_DISPATCH(bf16_encode_residual(in + at, from, size, out + at, to));
  });
}

void from_bf16(const uint16_t* in, int64_t n, float* out) {
  for_blocks(
      n, [&](int64_t at, int64_t size) { TERSE_DISPATCH(bf16_decode(in + at, size, out + at)); });
}

void add_rows(const float* in, const float* residual, int64_t n, float* out) {
  for_blocks(n, [&](int64_t at, int64_t size) {
    if (residual == nullptr)
      std::memcpy(out + at, in + at, static_cast<size_t>(size) * sizeof(float));
    else
      for (int64_t i = at; i < at + size; ++i) out[i] = in[i] + residual[i];
  });
}

void sum_rows(bool bf16, const std::vector<const std::byte*>& rows, int64_t n, float factor,
              float* out) {
  const auto count = static_cast<int64_t>(rows.size());
  for_blocks(n, [&](int64_t at, int64_t size) {
    if (bf16)
      TERSE_DISPATCH(sum_bf16(reinterpret_cast<const uint16_t* const*>(rows.data()), count, at,
                              size, factor, out + at));
    else
      TERSE_DISPATCH(sum_fp32(reinterpret_cast<const float* const*>(rows.data()), count, at, size,
                              factor, out + at));
  });
}

}  // namespace terse
