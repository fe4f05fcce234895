#include "comm/codec/kernels/bits_kernels.h"

#include "comm/codec/kernels/pack_bits.h"
#include "comm/codec/kernels/words.h"

namespace terse::TERSE_ISA {
namespace {

// As in the 1-bit codec: while a group is packed, one further on is fetched.
constexpr int64_t kAhead = 4096;
constexpr int64_t kBatch = 8;  // words coded before they are packed

enum class Shadow { none, cached, streamed };

struct Grid16 {
  F16 low, step, inverse, zero, least, most;
  explicit Grid16(const BitsGrid& grid)
      : low(broadcast(grid.low)),
        step(broadcast(grid.step)),
        inverse(broadcast(1.0f / grid.step)),
        zero(broadcast(grid.zero)),
        least(broadcast(-grid.zero)),
        most(broadcast(grid.top - grid.zero)) {}
};

// To the nearest whole number, ties to even: |t| is below 2^22, so 1.5 2^23 leaves no fraction.
inline F16 nearest(F16 t) {
  const F16 magic = broadcast(0x1.8p23f);
  return sub(add(t, magic), magic);
}

// Up with the probability of the fraction: whole numbers stay.
inline F16 stochastic(F16 t, F16 uniform) {
  const F16 zero = broadcast(0), one = broadcast(1), near = nearest(t);
  const F16 floor = sub(near, select(less(t, near), one, zero));
  return add(floor, select(less(uniform, sub(t, floor)), one, zero));
}

// Codes of 64 elements as bytes.
template <bool kResidual, Shadow kShadow, bool kNoise>
inline void code_word(const float* message, const float* residual, float* shadow,
                      const Grid16& grid, const float* uniform, uint8_t* bytes) {
  for (int64_t i = 0; i < kWord; i += 16) {
    __builtin_prefetch(message + i + kAhead);
    if constexpr (kResidual) __builtin_prefetch(residual + i + kAhead);
    const F16 x = load_x<kResidual>(message, residual, i);
    const F16 t = minimum(maximum(mul(sub(x, grid.low), grid.inverse), grid.least), grid.most);
    F16 level = t;
    if constexpr (kNoise)
      level = stochastic(t, load(uniform + i));
    else
      level = nearest(t);
    store_bytes(bytes + i, add(level, grid.zero));
    if constexpr (kShadow != Shadow::none) {
      const F16 rest = sub(x, add(grid.low, mul(level, grid.step)));
      if constexpr (kShadow == Shadow::streamed)
        stream(shadow + i, rest);
      else
        store(shadow + i, rest);
    }
  }
}

// 64 uniform numbers for word w of the bucket.
void uniforms(const PhiloxStream& noise, int64_t w, float* out) {
  uint32_t words[4][16];
  for (int l = 0; l < 16; ++l) {
    words[0][l] = noise_counter(w, l);
    for (int c = 1; c < 4; ++c) words[c][l] = noise.counter[c - 1];
  }
  philox4x32(words, noise.key);
  for (int c = 0; c < 4; ++c)
    for (int l = 0; l < 16; ++l) out[c * 16 + l] = uniform_from_bits(words[c][l]);
}

template <bool kNoise>
void code_partial(const CodecArrays& in, int64_t first, uint64_t inside, uint64_t m,
                  const Grid16& grid, const float* uniform, uint8_t* bytes) {
  alignas(64) float x[kWord], rest[kWord];
  gather_x(in, first, m, x);
  code_word<false, Shadow::cached, kNoise>(x, nullptr, rest, grid, uniform, bytes);
  scatter_rest(in, first, inside, m, rest);
  for (int64_t i = 0; i < kWord; ++i)
    if ((m >> i & 1) == 0) bytes[i] = 0;
}

template <bool kResidual, Shadow kShadow, bool kNoise>
void code_any(const CodecArrays& in, int64_t w, int64_t begin, int64_t end, const Grid16& grid,
              const PhiloxStream* noise, uint8_t* bytes) {
  alignas(64) float uniform[kWord];
  if constexpr (kNoise) uniforms(*noise, w, uniform);
  const uint64_t inside = range_mask(w, begin, end);
  const uint64_t m = in.live == nullptr ? inside : inside & in.live[w];
  if (m == kAll)
    code_word<kResidual, kShadow, kNoise>(
        in.message + w * kWord, kResidual ? in.residual + w * kWord : nullptr,
        kShadow == Shadow::none ? nullptr : in.shadow + w * kWord, grid, uniform, bytes);
  else
    code_partial<kNoise>(in, w * kWord, inside, m, grid, uniform, bytes);
}

template <bool kResidual, Shadow kShadow, bool kNoise>
void pack_range(const CodecArrays& in, int64_t begin, int64_t end, const BitsGrid& grid,
                const PhiloxStream* noise, uint64_t* codes) {
  const Grid16 lanes(grid);
  const auto pack = kPackWords[grid.bits - 1];
  alignas(64) uint64_t octets[kBatch * 8];
  auto* bytes = reinterpret_cast<uint8_t*>(octets);
  const int64_t last = (end + kWord - 1) / kWord;
  for (int64_t w = begin / kWord; w < last; w += kBatch, codes += kBatch * grid.bits) {
    const int64_t words = last - w < kBatch ? last - w : kBatch;
    for (int64_t k = 0; k < words; ++k)
      code_any<kResidual, kShadow, kNoise>(in, w + k, begin, end, lanes, noise, bytes + k * kWord);
    pack(octets, words, codes);
  }
}

template <bool kResidual, Shadow kShadow>
void pack_either(const CodecArrays& in, int64_t begin, int64_t end, const BitsGrid& grid,
                 const PhiloxStream* noise, uint64_t* codes) {
  if (noise == nullptr)
    pack_range<kResidual, kShadow, false>(in, begin, end, grid, noise, codes);
  else
    pack_range<kResidual, kShadow, true>(in, begin, end, grid, noise, codes);
}

template <bool kResidual>
void pack_shadow(const CodecArrays& in, int64_t begin, int64_t end, const BitsGrid& grid,
                 const PhiloxStream* noise, uint64_t* codes) {
  if (in.shadow == nullptr)
    pack_either<kResidual, Shadow::none>(in, begin, end, grid, noise, codes);
  else if (aligned(in.shadow))
    pack_either<kResidual, Shadow::streamed>(in, begin, end, grid, noise, codes);
  else
    pack_either<kResidual, Shadow::cached>(in, begin, end, grid, noise, codes);
}

template <bool kResidual>
BitsExtent extent(const CodecArrays& in, int64_t begin, int64_t end) {
  BitsExtent e;
  F16 low = broadcast(e.low), high = broadcast(e.high);
  const auto take = [&](const F16& x) { low = minimum(x, low), high = maximum(x, high); };
  alignas(64) float partial[kWord];
  for (int64_t w = begin / kWord; w * kWord < end; ++w) {
    uint64_t m = range_mask(w, begin, end);
    if (in.live != nullptr) m &= in.live[w];
    if (m == kAll) {
      const float* residual = kResidual ? in.residual + w * kWord : nullptr;
      for (int64_t i = 0; i < kWord; i += 16)
        take(load_x<kResidual>(in.message + w * kWord, residual, i));
    } else if (m != 0) {
      gather_x(in, w * kWord, m, partial);
      for (int64_t i = 0; i < kWord; ++i)
        if ((m >> i & 1) != 0) take(broadcast(partial[i]));
    }
  }
  alignas(64) float lows[16], highs[16];
  store(lows, low), store(highs, high);
  for (int l = 0; l < 16; ++l) {
    e.low = lows[l] < e.low ? lows[l] : e.low;
    e.high = highs[l] > e.high ? highs[l] : e.high;
  }
  return e;
}

template <bool kAdd, bool kStream>
inline void decode_word(const uint8_t* bytes, const Grid16& grid, float* out) {
  for (int64_t i = 0; i < kWord; i += 16) {
    F16 q = add(grid.low, mul(sub(load_bytes(bytes + i), grid.zero), grid.step));
    if constexpr (kAdd) q = add(load(out + i), q);
    if constexpr (kStream)
      stream(out + i, q);
    else
      store(out + i, q);
  }
}

template <bool kAdd, bool kStream>
void decode_any(const uint8_t* bytes, const uint64_t* live, int64_t w, int64_t begin, int64_t end,
                const Grid16& grid, float* out) {
  const uint64_t inside = range_mask(w, begin, end);
  const uint64_t m = live == nullptr ? inside : inside & live[w];
  float* to = out + w * kWord;
  if (m == kAll) return decode_word<kAdd, kStream>(bytes, grid, to);
  alignas(64) float decoded[kWord];
  decode_word<false, false>(bytes, grid, decoded);
  for (int64_t i = 0; i < kWord; ++i) {
    if ((inside >> i & 1) == 0) continue;
    const float q = (m >> i & 1) != 0 ? decoded[i] : 0.0f;
    to[i] = kAdd ? to[i] + q : q;
  }
}

template <bool kAdd, bool kStream>
void unpack_range(const uint64_t* codes, const uint64_t* live, int64_t begin, int64_t end,
                  const BitsGrid& grid, float* out) {
  const Grid16 lanes(grid);
  const auto unpack = kUnpackWords[grid.bits - 1];
  alignas(64) uint64_t octets[kBatch * 8];
  const auto* bytes = reinterpret_cast<const uint8_t*>(octets);
  const int64_t last = (end + kWord - 1) / kWord;
  for (int64_t w = begin / kWord; w < last; w += kBatch, codes += kBatch * grid.bits) {
    const int64_t words = last - w < kBatch ? last - w : kBatch;
    unpack(codes, words, octets);
    for (int64_t k = 0; k < words; ++k)
      decode_any<kAdd, kStream>(bytes + k * kWord, live, w + k, begin, end, lanes, out);
  }
}

}  // namespace

BitsExtent bits_extent(const CodecArrays& in, int64_t begin, int64_t end) {
  return in.residual != nullptr ? extent<true>(in, begin, end) : extent<false>(in, begin, end);
}

void bits_pack(const CodecArrays& in, int64_t begin, int64_t end, const BitsGrid& grid,
               const PhiloxStream* noise, uint64_t* codes) {
  if (in.residual != nullptr)
    pack_shadow<true>(in, begin, end, grid, noise, codes);
  else
    pack_shadow<false>(in, begin, end, grid, noise, codes);
}

void bits_unpack(const uint64_t* codes, const uint64_t* live, int64_t begin, int64_t end,
                 const BitsGrid& grid, bool plus_out, float* out) {
  if (plus_out) return unpack_range<true, false>(codes, live, begin, end, grid, out);
  if (aligned(out)) return unpack_range<false, true>(codes, live, begin, end, grid, out);
  return unpack_range<false, false>(codes, live, begin, end, grid, out);
}

}  // namespace terse::TERSE_ISA
