#include "comm/codec/kernels/topk_kernels.h"

#include "comm/codec/kernels/magnitude16.h"
#include "comm/codec/kernels/simd16.h"
#include "comm/codec/kernels/words.h"

namespace terse::TERSE_ISA {
namespace {

constexpr int64_t kAhead = 4096;  // elements fetched in advance, as in onebit.cc

template <bool kResidual, bool kShadow, bool kStream>
inline int32_t scan_word(const float* message, const float* residual, float* shadow) {
  M16 most = broadcast_magnitude(0);
  for (int v = 0; v < 4; ++v) {
    __builtin_prefetch(message + v * 16 + kAhead);
    if constexpr (kResidual) __builtin_prefetch(residual + v * 16 + kAhead);
    const F16 x = load_x<kResidual>(message, residual, v * 16);
    most = larger(most, magnitude(x));
    if constexpr (kStream)
      stream(shadow + v * 16, x);
    else if constexpr (kShadow)
      store(shadow + v * 16, x);
  }
  return largest(most);
}

inline int32_t largest_of(const float* x) {
  M16 most = magnitude(load(x));
  for (int v = 1; v < 4; ++v) most = larger(most, magnitude(load(x + v * 16)));
  return largest(most);
}

template <bool kResidual, bool kShadow, bool kStream>
void scan(const CodecArrays& in, int64_t begin, int64_t end, int32_t* maxima) {
  for (int64_t w = begin / kWord; w * kWord < end; ++w, ++maxima) {
    const uint64_t inside = range_mask(w, begin, end);
    const uint64_t m = in.live == nullptr ? inside : inside & in.live[w];
    if (m == kAll) {
      *maxima = scan_word<kResidual, kShadow, kStream>(
          in.message + w * kWord, kResidual ? in.residual + w * kWord : nullptr,
          kShadow ? in.shadow + w * kWord : nullptr);
      continue;
    }
    alignas(64) float x[kWord];
    gather_x(in, w * kWord, m, x);
    *maxima = largest_of(x);
    if constexpr (kShadow)
      for (int64_t i = 0; i < kWord; ++i)
        if ((inside >> i & 1) != 0) in.shadow[w * kWord + i] = x[i];
  }
}

inline uint64_t key_of(float x, int64_t index) {
  uint32_t u;
  __builtin_memcpy(&u, &x, sizeof u);
  const auto order = static_cast<uint64_t>(0x7fffffff - index);
  return static_cast<uint64_t>(u & 0x7fffffffu) << 32 | order << 1 | u >> 31;
}

// Keys of one word; returns how many.
template <bool kResidual>
inline int64_t collect_word(const CodecArrays& in, int64_t w, uint64_t m, M16 threshold,
                            uint64_t* keys) {
  const float* message = in.message + w * kWord;
  const float* residual = kResidual ? in.residual + w * kWord : nullptr;
  alignas(64) float partial[kWord];
  if (m != kAll) {
    gather_x(in, w * kWord, m, partial);
    message = partial;
  }
  uint64_t chosen = 0;
  for (int v = 0; v < 4; ++v) {
    const F16 x = kResidual && m == kAll ? load_x<kResidual>(message, residual, v * 16)
                                         : load(message + v * 16);
    chosen |= static_cast<uint64_t>(at_least(magnitude(x), threshold)) << (16 * v);
  }
  int64_t count = 0;
  for (uint64_t left = chosen & m; left != 0; left &= left - 1) {
    const int i = __builtin_ctzll(left);
    float x = message[i];
    if (kResidual && m == kAll) x += residual[i];
    keys[count++] = key_of(x, w * kWord + i);
  }
  return count;
}

inline void fetch_word(const CodecArrays& in, int64_t w) {
  for (int64_t i = w * kWord; i < (w + 1) * kWord; i += 16) {
    __builtin_prefetch(in.message + i);
    if (in.residual != nullptr) __builtin_prefetch(in.residual + i);
  }
}

// Which of the sixteen words from `w` on are worth a look.
inline uint32_t worth(const int32_t* maxima, int64_t w, int64_t words, int32_t threshold) {
  if (w + 16 <= words) return at_least(load_magnitude(maxima + w), broadcast_magnitude(threshold));
  uint32_t bits = 0;
  for (int i = 0; w + i < words; ++i)
    bits |= static_cast<uint32_t>(maxima[w + i] >= threshold) << i;
  return bits;
}

template <bool kResidual>
int64_t collect(const CodecArrays& in, int64_t begin, int64_t end, const int32_t* maxima,
                int32_t threshold, uint64_t* keys, int64_t room, int64_t* count) {
  const int64_t first = begin / kWord;
  const int64_t words = (end + kWord - 1) / kWord - first;
  const M16 wanted = broadcast_magnitude(threshold);
  for (int64_t group = 0; group < words; group += 16) {
    // Candidates lie far apart: their lines are asked for four groups before they are read.
    for (uint32_t next = worth(maxima, group + 64, words, threshold); next != 0; next &= next - 1)
      fetch_word(in, first + group + 64 + __builtin_ctz(next));
    for (uint32_t now = worth(maxima, group, words, threshold); now != 0; now &= now - 1) {
      const int64_t w = first + group + __builtin_ctz(now);
      if (room - *count < kWord) return w * kWord < begin ? begin : w * kWord;
      uint64_t m = range_mask(w, begin, end);
      if (in.live != nullptr) m &= in.live[w];
      *count += collect_word<kResidual>(in, w, m, wanted, keys + *count);
    }
  }
  return end;
}

}  // namespace

void topk_scan(const CodecArrays& in, int64_t begin, int64_t end, int32_t* maxima) {
  const bool streamed = in.shadow != nullptr && aligned(in.shadow);
  if (in.shadow == nullptr)
    return in.residual == nullptr ? scan<false, false, false>(in, begin, end, maxima)
                                  : scan<true, false, false>(in, begin, end, maxima);
  if (streamed)
    return in.residual == nullptr ? scan<false, true, true>(in, begin, end, maxima)
                                  : scan<true, true, true>(in, begin, end, maxima);
  return in.residual == nullptr ? scan<false, true, false>(in, begin, end, maxima)
                                : scan<true, true, false>(in, begin, end, maxima);
}

int64_t topk_collect(const CodecArrays& in, int64_t begin, int64_t end, const int32_t* maxima,
                     int32_t threshold, uint64_t* keys, int64_t room, int64_t* count) {
  return in.residual == nullptr
             ? collect<false>(in, begin, end, maxima, threshold, keys, room, count)
             : collect<true>(in, begin, end, maxima, threshold, keys, room, count);
}

void topk_store(const float* sum, int64_t n, float factor, float* out) {
  const F16 f = broadcast(factor);
  int64_t i = 0;
  if (aligned(out))
    for (; i + 16 <= n; i += 16) stream(out + i, mul(load(sum + i), f));
  for (; i < n; ++i) out[i] = sum[i] * factor;
}

}  // namespace terse::TERSE_ISA
