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

// Takes the low words of the `full` states: written below `to`, those of later coders first. All
// sixteen words below `to` are overwritten.
inline uint16_t* put_words(__mmask16 full, __m512i state, uint16_t* to) {
  const auto count = static_cast<uint32_t>(__builtin_popcount(mask_bits(full)));
  const __m512i first = _mm512_maskz_compress_epi32(full, state);
  const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m512i last = _mm512_permutexvar_epi32(
      _mm512_add_epi32(lanes, _mm512_set1_epi32(static_cast<int>(count))), first);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to - 16), _mm512_cvtepi32_epi16(last));
  return to - count;
}

// Floor of x / frequency for eight coders.
inline __m256i quotients(const RansSymbols& symbols, __m256i symbol, __m256i x) {
  const __m512d reciprocal = _mm512_i32gather_pd(symbol, symbols.reciprocal, 8);
  return _mm512_cvttpd_epu32(_mm512_mul_pd(_mm512_cvtepu32_pd(x), reciprocal));
}

// One step of sixteen coders.
inline uint16_t* encode16(const RansSymbols& symbols, const uint8_t* in, __m512i& state,
                          uint16_t* to) {
  const __m512i symbol =
      _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(in)));
  const __m512i slots = _mm512_i32gather_epi32(symbol, symbols.slots, 4);
  const __m512i frequency = _mm512_srli_epi32(slots, 16);
  const __mmask16 full = _mm512_cmpge_epu32_mask(_mm512_srli_epi32(state, 20), frequency);
  to = put_words(full, state, to);
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

// The tables of few symbols.
struct Few {
  explicit Few(const RansSymbols& s)
      : packed{_mm512_load_si512(s.packed), _mm512_load_si512(s.packed + 16)},
        magic{_mm512_load_si512(s.magic), _mm512_load_si512(s.magic + 16)} {}
  static __m512i find(const __m512i* table, __m512i place) {
    return _mm512_permutex2var_epi32(table[0], place, table[1]);
  }
  __m512i packed[2], magic[2];
};

// The same with places in the tables instead of symbols: neither a gather nor a division.
inline uint16_t* encode16(const Few& few, __m128i places, __m512i& state, uint16_t* to) {
  const __m512i place = _mm512_cvtepu8_epi32(places);
  const __m512i packed = Few::find(few.packed, place), magic = Few::find(few.magic, place);
  const __m512i frequency =
      _mm512_and_si512(_mm512_srli_epi32(packed, 13), _mm512_set1_epi32(kSlots));
  const __mmask16 full = _mm512_cmpge_epu32_mask(_mm512_srli_epi32(state, 20), frequency);
  to = put_words(full, state, to);
  const __m512i x = _mm512_mask_srli_epi32(state, full, state, 16);
  const __m512i even = _mm512_srli_epi64(_mm512_mul_epu32(x, magic), 32);
  const __m512i odd = _mm512_mul_epu32(_mm512_srli_epi64(x, 32), _mm512_srli_epi64(magic, 32));
  const __m512i quotient =
      _mm512_srlv_epi32(_mm512_mask_blend_epi32(0xaaaa, even, odd), _mm512_srli_epi32(packed, 25));
  const __m512i start = _mm512_and_si512(packed, _mm512_set1_epi32(8191));
  const __m512i rest = _mm512_sub_epi32(_mm512_set1_epi32(4096), frequency);
  state = _mm512_add_epi32(_mm512_add_epi32(x, start), _mm512_mullo_epi32(quotient, rest));
  return to;
}

// Places of 32 symbols: of each sixteen possible ones that share their upper half, if they occur.
inline __m256i places_of(const RansSymbols& symbols, uint32_t rows, __m256i symbol) {
  const __m256i low = _mm256_and_si256(symbol, _mm256_set1_epi8(15));
  const __m256i high = _mm256_and_si256(_mm256_srli_epi16(symbol, 4), _mm256_set1_epi8(15));
  __m256i place = _mm256_setzero_si256();
  for (uint32_t left = rows; left != 0; left &= left - 1) {
    const int row = __builtin_ctz(left);
    const __m256i table = _mm256_broadcastsi128_si256(
        _mm_load_si128(reinterpret_cast<const __m128i*>(symbols.place + 16 * row)));
    const __mmask32 here = _mm256_cmpeq_epi8_mask(high, _mm256_set1_epi8(static_cast<char>(row)));
    place = _mm256_mask_shuffle_epi8(place, here, table, low);
  }
  return place;
}

// Bit r: symbols 16 r to 16 r + 15 have a place other than 0.
inline uint32_t rows_of(const RansSymbols& symbols) {
  uint32_t rows = 0;
  for (int s = 0; s < 256; ++s) rows |= static_cast<uint32_t>(symbols.place[s] != 0) << (s / 16);
  return rows;
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

// From the last element to the first; words are written downwards from *words, and up to sixteen
// below the last one are overwritten.
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
  if (symbols.few > 0) {
    const Few few(symbols);
    const uint32_t rows = rows_of(symbols);
    for (; i > 0; i -= kCoders) {
      const __m256i places = places_of(
          symbols, rows, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(in + i - kCoders)));
      to = encode16(few, _mm256_extracti128_si256(places, 1), high, to);
      to = encode16(few, _mm256_castsi256_si128(places), low, to);
    }
  }
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
