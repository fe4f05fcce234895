// Sixteen floats in GCC's vector extension: one zmm, two ymm or four xmm registers. Every operation
// is one correctly rounded IEEE operation and sums run over the same sixteen lanes, so the three
// instruction sets give equal bits. For kernel files only (cmake/Terse.cmake, terse_kernels),
// compiled with -Wno-psabi: every function below is inlined, so that no ABI is involved.
#pragma once
#include <cstdint>
#include <cstring>

namespace terse::TERSE_ISA {
namespace {

using F16 = float __attribute__((vector_size(64)));
using I16 = int32_t __attribute__((vector_size(64)));
using U16 = uint32_t __attribute__((vector_size(64)));
using H16 = uint16_t __attribute__((vector_size(32)));

#define TERSE_INLINE [[gnu::always_inline]] inline

constexpr int64_t kLanes = 16;

TERSE_INLINE F16 splat(float x) {
  return F16{} + x;
}

TERSE_INLINE F16 load(const float* p) {
  F16 v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
TERSE_INLINE F16 load(const uint16_t* p) {
  H16 h;
  std::memcpy(&h, p, sizeof h);
  return reinterpret_cast<F16>(__builtin_convertvector(h, U16) << 16);
}
TERSE_INLINE void store(float* p, F16 v) {
  std::memcpy(p, &v, sizeof v);
}
// Round to nearest even; NaN stays NaN.
TERSE_INLINE void store(uint16_t* p, F16 v) {
  const U16 u = reinterpret_cast<U16>(v);
  const U16 rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
  const U16 nan = (u >> 16) | 0x40u;
  const H16 h = __builtin_convertvector(v == v ? rounded : nan, H16);
  std::memcpy(p, &h, sizeof h);
}
// The first n <= 16 elements; the others are `fill`.
template <typename T>
TERSE_INLINE F16 load(const T* p, int64_t n, float fill = 0.0f) {
  if (n == kLanes) return load(p);
  T buffer[kLanes];
  store(buffer, splat(fill));
  for (int64_t i = 0; i < n; ++i) buffer[i] = p[i];
  return load(buffer);
}
template <typename T>
TERSE_INLINE void store(T* p, F16 v, int64_t n) {
  if (n == kLanes) return store(p, v);
  T buffer[kLanes];
  store(buffer, v);
  for (int64_t i = 0; i < n; ++i) p[i] = buffer[i];
}

TERSE_INLINE F16 max(F16 a, F16 b) {
  return a > b ? a : b;
}

TERSE_INLINE float sum(F16 v) {
  float a[kLanes];
  store(a, v);
  for (int64_t half = 8; half > 0; half /= 2)
    for (int64_t i = 0; i < half; ++i) a[i] += a[i + half];
  return a[0];
}
TERSE_INLINE float max(F16 v) {
  float a[kLanes];
  store(a, v);
  for (int64_t half = 8; half > 0; half /= 2)
    for (int64_t i = 0; i < half; ++i) a[i] = a[i] > a[i + half] ? a[i] : a[i + half];
  return a[0];
}

// e^x: x = n ln 2 + r, |r| <= ln 2 / 2, Cephes' polynomial of degree 6; relative error below 2^-22.
// Saturates at e^-87 and e^88; NaN stays NaN.
TERSE_INLINE F16 exp(F16 x) {
  x = x < -87.0f ? splat(-87.0f) : x;
  x = x > 88.0f ? splat(88.0f) : x;
  const float magic = 12582912.0f;  // adding it leaves the nearest integer in the low mantissa bits
  const F16 shifted = x * 1.44269504088896341f + magic;
  const F16 n = shifted - magic;
  const F16 r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
  F16 p = splat(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const I16 exponent = (reinterpret_cast<I16>(shifted) << 23) + (127 << 23);
  return p * reinterpret_cast<F16>(exponent);
}

// Calls f(i, lanes) for i = 0, 16, ... below n: lanes is 16, or fewer in the last call. Lambdas
// given to it are marked TERSE_LANES, so that the whole-vector calls carry no tail code.
#define TERSE_LANES __attribute__((always_inline))
template <typename F>
TERSE_INLINE void for_lanes(int64_t n, const F& f) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) f(i, kLanes);
  if (i < n) f(i, n - i);
}

}  // namespace
}  // namespace terse::TERSE_ISA
