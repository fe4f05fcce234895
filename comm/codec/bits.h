// b-bit codec, 1 to 8 bits an element and a grid for every group of elements.
//
//   max_min (CGX, Markov et al., arXiv:2111.08617):
//     step = (max x - min x) / (2^b - 1);  q_i = round((x_i - min x) / step);  Q(x_i) = min x + q_i
//     step
//   norm (QSGD, Alistarh et al., arXiv:1610.02132, with the largest magnitude for the norm):
//     step = max |x| / (2^(b-1) - 1);      q_i = round(x_i / step);            Q(x_i) = q_i step
//
// Rounding is to the nearest level, ties to an even q, or stochastic: up with the probability of
// the fraction, so that Q(x) is unbiased (to 2^-24 of a step). The random number of an element is a
// function of seed, step, bucket, stage, sender and its place in the bucket (Philox 4x32-10).
//
// Error: an element is off by at most step / 2 (stochastic: less than step). norm with nearest
// rounding never enlarges an element's error beyond the element and hits the largest, so it is a
// contraction with delta >= 1 / n whatever x is, n the group's size; QSGD's own 2-norm is not
// (small elements of a large group would all become 0, for ever). max_min has no level at 0: the
// bound is |x - Q(x)|^2 <= n / (2 (2^b - 1)^2) |x|^2, a contraction below n = 2 (2^b - 1)^2 (450 at
// 4 bits); on gaussian data 4 bits and 512 elements leave 1.4 % of |x|^2, norm 1.8 %. A group of
// equal elements (max_min) or of zeros (norm) is exact. Magnitudes beyond 2^126 are cut there, and
// the residual has the rest; a step is at least 2^-126.
//
// Message: b bits an element; a group has 8 bytes (norm: 4); a segment has 1 byte and is padded to
// words of 64 elements at both ends. Parameter of bind(): bits. Cost of encode with residual: reads
// 8 bytes and writes 4 + b / 8 an element once, twice the reads from the cache. Memory: 28 bytes a
// group.
#pragma once
#include <cstdint>
#include <memory>

#include "comm/codec/codec.h"

namespace terse {

struct BitsOptions {
  enum class Scaling : uint8_t { max_min, norm };
  enum class Rounding : uint8_t { nearest, stochastic };

  int bits = 4;  // 1 to 8; norm: from 2 on (1 bit and a norm is the codec onebit)
  Scaling scaling = Scaling::max_min;
  Rounding rounding = Rounding::nearest;
  int64_t block = 512;   // elements a scale, a power of two from 64 on; 0 = a segment
  uint64_t seed = 0;     // of stochastic rounding
  bool checksum = true;  // of the payload
};

// Error(usage) if bits are out of range.
std::unique_ptr<Codec> make_bits_codec(const BitsOptions& options = {});

}  // namespace terse
