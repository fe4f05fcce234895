// Plane p holds byte p of every element, the highest last.
#include <bit>
#include <cstring>

#include "export/kernels/declarations.h"

namespace terse::TERSE_ISA {
namespace {

template <typename Word, bool kRotated>
void split(const std::byte* in, int64_t count, uint8_t* out, int64_t stride) {
  for (int64_t i = 0; i < count; ++i) {
    Word word;
    std::memcpy(&word, in + i * static_cast<int64_t>(sizeof word), sizeof word);
    if constexpr (kRotated) word = std::rotl(word, 1);
    for (size_t p = 0; p < sizeof word; ++p)
      out[static_cast<int64_t>(p) * stride + i] = static_cast<uint8_t>(word >> (8 * p));
  }
}

template <typename Word, bool kRotated>
void merge(const uint8_t* in, int64_t stride, int64_t count, std::byte* out) {
  for (int64_t i = 0; i < count; ++i) {
    Word word = 0;
    for (size_t p = 0; p < sizeof word; ++p)
      word = static_cast<Word>(word | static_cast<Word>(in[static_cast<int64_t>(p) * stride + i])
                                          << (8 * p));
    if constexpr (kRotated) word = std::rotr(word, 1);
    std::memcpy(out + i * static_cast<int64_t>(sizeof word), &word, sizeof word);
  }
}

}  // namespace

void split_planes(const std::byte* in, int width, bool rotated, int64_t count, uint8_t* out,
                  int64_t stride) {
  if (width == 1) std::memcpy(out, in, static_cast<size_t>(count));
  if (width == 2 && rotated) split<uint16_t, true>(in, count, out, stride);
  if (width == 2 && !rotated) split<uint16_t, false>(in, count, out, stride);
  if (width == 4 && rotated) split<uint32_t, true>(in, count, out, stride);
  if (width == 4 && !rotated) split<uint32_t, false>(in, count, out, stride);
  if (width == 8) split<uint64_t, false>(in, count, out, stride);
}

void merge_planes(const uint8_t* in, int64_t stride, int width, bool rotated, int64_t count,
                  std::byte* out) {
  if (width == 1) std::memcpy(out, in, static_cast<size_t>(count));
  if (width == 2 && rotated) merge<uint16_t, true>(in, stride, count, out);
  if (width == 2 && !rotated) merge<uint16_t, false>(in, stride, count, out);
  if (width == 4 && rotated) merge<uint32_t, true>(in, stride, count, out);
  if (width == 4 && !rotated) merge<uint32_t, false>(in, stride, count, out);
  if (width == 8) merge<uint64_t, false>(in, stride, count, out);
}

}  // namespace terse::TERSE_ISA
