// Bytes to codes of 1 to 8 bits, back to back, and the other way. Eight codes (an octet) at a time;
// only for files compiled by terse_kernels().
#pragma once
#include <cstdint>
#include <cstring>

namespace terse::TERSE_ISA {
namespace {

// In every lane of 2 kStep bits, the upper half moves down to the end of the lower half's kWidth
// bits; split() undoes it.
template <int kWidth, int kStep>
inline uint64_t join(uint64_t x) {
  constexpr uint64_t kLow = ~uint64_t{0} / ((uint64_t{1} << kStep) + 1);
  return (x & kLow) | (x & ~kLow) >> (kStep - kWidth);
}
template <int kWidth, int kStep>
inline uint64_t split(uint64_t x) {
  constexpr uint64_t kLane =
      ~uint64_t{0} / (kStep == 32 ? ~uint64_t{0} : (uint64_t{1} << 2 * kStep) - 1);
  constexpr uint64_t kLow = kLane * ((uint64_t{1} << kWidth) - 1);
  return (x & kLow) | (x & kLow << kWidth) << (kStep - kWidth);
}

template <int kBits>
inline uint64_t squeeze(uint64_t x) {
  return join<4 * kBits, 32>(join<2 * kBits, 16>(join<kBits, 8>(x)));
}
template <int kBits>
inline uint64_t spread(uint64_t x) {
  return split<kBits, 8>(split<2 * kBits, 16>(split<4 * kBits, 32>(x)));
}

// `words` words of 64 codes: eight octets of bytes each in `octets`, kBits u64 each in `codes`.
// Both go over all octets first, as vector code, and then over words: a vector that is read right
// after it was written in pieces would wait for the pieces.
template <int kBits>
void pack_words(uint64_t* octets, int64_t words, uint64_t* codes) {
  for (int64_t k = 0; k < 8 * words; ++k) octets[k] = squeeze<kBits>(octets[k]);
  for (int64_t w = 0; w < words; ++w, octets += 8, codes += kBits) {
    uint64_t out[kBits + 1] = {};
    for (int k = 0; k < 8; ++k) {
      const int at = 8 * kBits * k, shift = at % 64;
      out[at / 64] |= octets[k] << shift;
      if (shift + 8 * kBits > 64) out[at / 64 + 1] |= octets[k] >> (64 - shift) % 64;
    }
    std::memcpy(codes, out, kBits * sizeof(uint64_t));
  }
}

template <int kBits>
void unpack_words(const uint64_t* codes, int64_t words, uint64_t* octets) {
  for (int64_t w = 0; w < words; ++w)
    for (int k = 0; k < 8; ++k) {
      const int at = 8 * kBits * k, shift = at % 64;
      const uint64_t* from = codes + w * kBits + at / 64;
      uint64_t octet = from[0] >> shift;
      if (shift + 8 * kBits > 64) octet |= from[1] << (64 - shift) % 64;
      octets[8 * w + k] = octet;
    }
  constexpr uint64_t kMask = ~uint64_t{0} >> (64 - 8 * kBits);
  for (int64_t k = 0; k < 8 * words; ++k) octets[k] = spread<kBits>(octets[k] & kMask);
}

constexpr decltype(&pack_words<1>) kPackWords[] = {pack_words<1>, pack_words<2>, pack_words<3>,
                                                   pack_words<4>, pack_words<5>, pack_words<6>,
                                                   pack_words<7>, pack_words<8>};
constexpr decltype(&unpack_words<1>) kUnpackWords[] = {
    unpack_words<1>, unpack_words<2>, unpack_words<3>, unpack_words<4>,
    unpack_words<5>, unpack_words<6>, unpack_words<7>, unpack_words<8>};

}  // namespace
}  // namespace terse::TERSE_ISA
