// Thirty-two rANS coders in step (Duda, arXiv 1311.2540; interleaving: Giesen, arXiv 1402.3392):
// element i belongs to coder i % 32, and all take their 16-bit words from one stream in order of
// the elements, so that a vector of states renews itself by one expanding load.
#if defined(__AVX512F__)
#include <immintrin.h>

#include "base/mask_bits.h"
#endif

#include "export/kernels/declarations.h"

namespace terse::TERSE_ISA {
namespace {

constexpr int kCoders = 32;
constexpr uint32_t kLow = 1u << 16;  // states stay in [2^16, 2^32)
constexpr uint32_t kSlots = 4095;

#if defined(__AVX512F__)
// One step of sixteen coders; needs 16 readable words at `words`.
inline const uint16_t* decode16(const uint32_t* table, __m512i& state, const uint16_t* words,
                                uint8_t* out) {
  const __m512i slot = _mm512_and_si512(state, _mm512_set1_epi32(kSlots));
  const __m512i entry = _mm512_i32gather_epi32(slot, table, 4);
  const __m512i frequency =
      _mm512_and_si512(_mm512_srli_epi32(entry, 8), _mm512_set1_epi32(kSlots));
  const __m512i next = _mm512_add_epi32(_mm512_mullo_epi32(frequency, _mm512_srli_epi32(state, 12)),
                                        _mm512_srli_epi32(entry, 20));
  const __mmask16 empty = _mm512_cmplt_epu32_mask(next, _mm512_set1_epi32(kLow));
  const __m512i fresh = _mm512_maskz_expand_epi32(
      empty, _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(words))));
  state = _mm512_mask_or_epi32(next, empty, _mm512_slli_epi32(next, 16), fresh);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm512_cvtepi32_epi8(entry));
  return words + __builtin_popcount(mask_bits(empty));
}

// Floor of x / frequency for eight coders.
inline __m256i quotients(const RansSymbols& symbols, __m256i symbol, __m256i x) {
  const __m512d reciprocal = _mm512_i32gather_pd(symbol, symbols.reciprocal, 8);
  return _mm512_cvttpd_epu32(_mm512_mul_pd(_mm512_cvtepu32_pd(x), reciprocal));
}

// One step of sixteen coders; the words are written below `to`, those of later coders first.
inline uint16_t* encode16(const RansSymbols& symbols, const uint8_t* in, __m512i& state,
                          uint16_t* to) {
  const __m512i symbol =
      _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(in)));
  const __m512i slots = _mm512_i32gather_epi32(symbol, symbols.slots, 4);
  const __m512i frequency = _mm512_srli_epi32(slots, 16);
  const __mmask16 full = _mm512_cmpge_epu32_mask(_mm512_srli_epi32(state, 20), frequency);
  const auto count = static_cast<uint32_t>(__builtin_popcount(mask_bits(full)));
  to -= count;
  _mm256_mask_storeu_epi16(to, static_cast<__mmask16>((1u << count) - 1u),
                           _mm512_cvtepi32_epi16(_mm512_maskz_compress_epi32(full, state)));
  const __m512i x = _mm512_mask_srli_epi32(state, full, state, 16);
  const __m256i first =
      quotients(symbols, _mm512_castsi512_si256(symbol), _mm512_castsi512_si256(x));
  const __m256i second =
      quotients(symbols, _mm512_extracti64x4_epi64(symbol, 1), _mm512_extracti64x4_epi64(x, 1));
  const __m512i quotient = _mm512_inserti64x4(_mm512_castsi256_si512(first), second, 1);
  const __m512i start = _mm512_and_si512(slots, _mm512_set1_epi32(0xffff));
  const __m512i rest = _mm512_sub_epi32(_mm512_set1_epi32(4096), frequency);
  state = _mm512_add_epi32(_mm512_add_epi32(x, start), _mm512_mullo_epi32(quotient, rest));
  return to;
}
#endif

}  // namespace

// Whole steps of 32 symbols as long as every coder could take a word; returns the steps made.
int64_t rans_decode(const uint32_t* table, uint32_t* states, const uint16_t** words,
                    const uint16_t* end, int64_t steps, uint8_t* out) {
  const uint16_t* from = *words;
  int64_t step = 0;
#if defined(__AVX512F__)
  __m512i low = _mm512_loadu_si512(states), high = _mm512_loadu_si512(states + 16);
  for (; step < steps && end - from >= kCoders; ++step, out += kCoders) {
    from = decode16(table, low, from, out);
    from = decode16(table, high, from, out + 16);
  }
  _mm512_storeu_si512(states, low);
  _mm512_storeu_si512(states + 16, high);
#else
  uint32_t local[kCoders];
  for (int k = 0; k < kCoders; ++k) local[k] = states[k];
  for (; step < steps && end - from >= kCoders; ++step, out += kCoders)
    for (int k = 0; k < kCoders; ++k) {
      const uint32_t entry = table[local[k] & kSlots];
      const uint32_t next = ((entry >> 8) & kSlots) * (local[k] >> 12) + (entry >> 20);
      // Without a branch, which would be mispredicted every fourth time.
      const uint32_t empty = next < kLow;
      local[k] = next << (16 * empty) | (*from & (0u - empty));
      from += empty;
      out[k] = static_cast<uint8_t>(entry);
    }
  for (int k = 0; k < kCoders; ++k) states[k] = local[k];
#endif
  *words = from;
  return step;
}

// From the last element to the first; words are written downwards from *words.
void rans_encode(const RansSymbols& symbols, const uint8_t* in, int64_t count, uint32_t* states,
                 uint16_t** words) {
  uint16_t* to = *words;
  int64_t i = count;
  const auto one = [&] {
    --i;
    const uint32_t slots = symbols.slots[in[i]], frequency = slots >> 16;
    uint32_t x = states[i % kCoders];
    const uint32_t full = (x >> 20) >= frequency;
    to[-1] = static_cast<uint16_t>(x);
    to -= full;
    x >>= 16 * full;
    const auto quotient = static_cast<uint32_t>(x * symbols.reciprocal[in[i]]);
    states[i % kCoders] = x + (slots & 0xffffu) + quotient * (4096u - frequency);
  };
  while (i % kCoders != 0) one();
#if defined(__AVX512F__)
  __m512i low = _mm512_loadu_si512(states), high = _mm512_loadu_si512(states + 16);
  for (; i > 0; i -= kCoders) {
    to = encode16(symbols, in + i - 16, high, to);
    to = encode16(symbols, in + i - 32, low, to);
  }
  _mm512_storeu_si512(states, low);
  _mm512_storeu_si512(states + 16, high);
#else
  while (i > 0) one();
#endif
  *words = to;
}

}  // namespace terse::TERSE_ISA
