#include <cmath>
#include <limits>

#include "trainer/model/ops/kernels.h"
#include "trainer/model/ops/vec16.h"

namespace terse::TERSE_ISA {
namespace {

template <typename T>
TERSE_INLINE float value_at(const T* row, int64_t i) {
  return load(row + i, 1)[0];
}

// Vocabularies up to this size keep a row's exponentials in fp32 instead of computing them twice.
constexpr int64_t kKept = 8192;

template <typename T>
float loss_row(T* row, int64_t target, int64_t vocab, float gradient_scale) {
  const float lowest = -std::numeric_limits<float>::infinity();
  F16 highest = splat(lowest);
  for_lanes(vocab, [&](int64_t i, int64_t lanes)
                       TERSE_LANES { highest = max(highest, load(row + i, lanes, lowest)); });
  const float top = max(highest);
  alignas(64) float kept[kKept];
  const bool keep = vocab <= kKept;
  F16 total{};
  for_lanes(vocab, [&](int64_t i, int64_t lanes) TERSE_LANES {
    const F16 e = exp(load(row + i, lanes, lowest) - top);
    total += e;
    if (keep) store(kept + i, e, lanes);
  });
  const float mass = sum(total);
  const float chosen = value_at(row, target);
  if (gradient_scale != 0.0f) {
    // softmax - 1 at the target is rounded once, from fp32.
    const float at_target = exp(splat(chosen - top))[0] / mass - 1.0f;
    const float factor = gradient_scale / mass;
    for_lanes(vocab, [&](int64_t i, int64_t lanes) TERSE_LANES {
      const F16 e = keep ? load(kept + i, lanes) : exp(load(row + i, lanes, lowest) - top);
      store(row + i, e * factor, lanes);
    });
    store(row + target, splat(at_target * gradient_scale), 1);
  }
  return std::log(mass) + top - chosen;
}

template <typename T>
void loss_rows(T* logits, const int64_t* targets, float* loss, int64_t rows, int64_t vocab,
               float gradient_scale) {
  for (int64_t r = 0; r < rows; ++r)
    loss[r] = loss_row(logits + r * vocab, targets[r], vocab, gradient_scale);
}

template <typename T>
void scale(T* values, int64_t n, float factor) {
  for_lanes(n, [&](int64_t i, int64_t lanes)
                   TERSE_LANES { store(values + i, load(values + i, lanes) * factor, lanes); });
}

}  // namespace

#define TERSE_DEFINE(T)                                                                 \
  void cross_entropy_rows(T* logits, const int64_t* targets, float* loss, int64_t rows, \
                          int64_t vocab, float gradient_scale) {                        \
    loss_rows<T>(logits, targets, loss, rows, vocab, gradient_scale);                   \
  }                                                                                     \
  void scale_values(T* values, int64_t n, float factor) {                               \
    scale<T>(values, n, factor);                                                        \
  }
TERSE_DEFINE(float)
TERSE_DEFINE(uint16_t)
#undef TERSE_DEFINE

}  // namespace terse::TERSE_ISA
