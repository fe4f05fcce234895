#include "trainer/model/ops/kernels.h"
#include "trainer/model/ops/vec16.h"

#include <limits>

namespace terse::TERSE_ISA {
namespace {

template <typename T>
void rotate(const T* in, const float* cosine, const float* sine, T* out, int64_t half,
            float direction) {
  for_lanes(half, [&](int64_t i, int64_t lanes) TERSE_LANES {
    const F16 a = load(in + i, lanes), b = load(in + half + i, lanes);
    const F16 c = load(cosine + i, lanes), s = load(sine + i, lanes) * direction;
    store(out + i, a * c - b * s, lanes);
    store(out + half + i, b * c + a * s, lanes);
  });
}

int64_t visible_keys(const SoftmaxRows& rows, int64_t r) {
  return rows.causal ? (rows.first + r) % rows.queries + 1 : rows.keys;
}

template <typename T>
void zero_masked(T* row, int64_t visible, int64_t keys) {
  std::memset(row + visible, 0, static_cast<size_t>(keys - visible) * sizeof(T));
}

// Elements that whole vectors may touch: what is visible, rounded up, as far as the row goes. A
// tail element by element would cost as much as the rest of a short row.
int64_t whole_lanes(int64_t visible, int64_t keys) {
  const int64_t rounded = (visible + kLanes - 1) / kLanes * kLanes;
  return rounded <= keys ? rounded : visible;
}

// Lanes from `visible` on become `fill`.
TERSE_INLINE F16 only_visible(F16 v, int64_t i, int64_t visible, float fill) {
  const I16 lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  return lane < static_cast<int32_t>(visible - i) ? v : splat(fill);
}

// Rows this short keep their exponentials in fp32 instead of computing them twice.
constexpr int64_t kKept = 2048;

template <typename T>
void softmax_row(T* row, int64_t visible, int64_t keys, float scale) {
  const float lowest = -std::numeric_limits<float>::infinity();
  const int64_t n = whole_lanes(visible, keys);
  F16 highest = splat(lowest);
  for_lanes(n, [&](int64_t i, int64_t lanes) TERSE_LANES {
    highest = max(highest, only_visible(load(row + i, lanes, lowest), i, visible, lowest));
  });
  const float top = max(highest);
  const auto exponential = [&](int64_t i, int64_t lanes) TERSE_LANES {
    return only_visible(exp((load(row + i, lanes, lowest) - top) * scale), i, visible, 0.0f);
  };
  alignas(64) float kept[kKept];
  F16 total{};
  if (n <= kKept) {
    for_lanes(n, [&](int64_t i, int64_t lanes) TERSE_LANES {
      const F16 e = exponential(i, lanes);
      total += e;
      store(kept + i, e, lanes);
    });
    const float inverse = 1.0f / sum(total);
    for_lanes(n, [&](int64_t i, int64_t lanes)
                     TERSE_LANES { store(row + i, load(kept + i, lanes) * inverse, lanes); });
    return;
  }
  for_lanes(n, [&](int64_t i, int64_t lanes) TERSE_LANES { total += exponential(i, lanes); });
  const float inverse = 1.0f / sum(total);
  for_lanes(n, [&](int64_t i, int64_t lanes)
                   TERSE_LANES { store(row + i, exponential(i, lanes) * inverse, lanes); });
}

template <typename T>
void softmax(T* scores, const SoftmaxRows& rows) {
  for (int64_t r = 0; r < rows.count; ++r) {
    T* row = scores + r * rows.keys;
    const int64_t visible = visible_keys(rows, r);
    softmax_row(row, visible, rows.keys, rows.scale);
    zero_masked(row, visible, rows.keys);
  }
}

template <typename T>
void softmax_gradient(const T* p, T* dp, const SoftmaxRows& rows) {
  for (int64_t r = 0; r < rows.count; ++r) {
    const T* prob = p + r * rows.keys;
    T* row = dp + r * rows.keys;
    const int64_t visible = visible_keys(rows, r);
    const int64_t n = whole_lanes(visible, rows.keys);
    F16 product{};
    for_lanes(n, [&](int64_t i, int64_t lanes) TERSE_LANES {
      product += only_visible(load(prob + i, lanes) * load(row + i, lanes), i, visible, 0.0f);
    });
    const float mean = sum(product);
    for_lanes(n, [&](int64_t i, int64_t lanes) TERSE_LANES {
      store(row + i, load(prob + i, lanes) * (load(row + i, lanes) - mean) * rows.scale, lanes);
    });
    zero_masked(row, visible, rows.keys);
  }
}

}  // namespace

#define TERSE_DEFINE(T)                                                                       \
  void rotate_head(const T* in, const float* cosine, const float* sine, T* out, int64_t half, \
                   float direction) {                                                         \
    rotate<T>(in, cosine, sine, out, half, direction);                                        \
  }                                                                                           \
  void softmax_forward(T* scores, const SoftmaxRows& rows) {                                  \
    softmax<T>(scores, rows);                                                                 \
  }                                                                                           \
  void softmax_backward(const T* p, T* dp, const SoftmaxRows& rows) {                         \
    softmax_gradient<T>(p, dp, rows);                                                         \
  }
TERSE_DEFINE(float)
TERSE_DEFINE(uint16_t)
#undef TERSE_DEFINE

}  // namespace terse::TERSE_ISA
