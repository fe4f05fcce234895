// 1-bit sign codec with a scale per segment, or per block of a segment (1-bit Adam, Tang et al.,
// arXiv:2102.02888; signSGD with error feedback, Karimireddy et al., arXiv:1901.09847).
//
//   q_i = a sgn(x_i), sgn(0) = +1;   a = |x|_1 / n  (l1)   or   |x|_2 / sqrt(n)  (rms)
//
// n counts the live elements of the group; the residual x - q carries the rest to the next call.
// l1 is the least-squares optimum and always a contraction with delta = |x|_1^2 / (n |x|_2^2); rms
// is not (a 1 % sparse vector grows by 1.357), but under error feedback it drains large coordinates
// faster: after 400 steps of a constant gaussian vector the residual is 3.8 times the vector and
// hardly grows, against 17.6 with l1, growing as the root of the steps. rms is the default, as in
// DeepSpeed.
//
// Message: 1 bit an element and 4 bytes a group, 64 bytes of header. Cost of encode with residual:
// reads 8 bytes and writes 4 bytes an element once (twice the reads from the cache where a group is
// longer than a window). Memory: a few bytes per 4,096 elements.
#pragma once
#include <cstdint>
#include <memory>

#include "comm/codec/codec.h"

namespace terse {

enum class ScaleKind : uint8_t { l1, rms };

struct OneBitOptions {
  ScaleKind scale = ScaleKind::rms;
  int64_t block = 0;     // elements a scale, a power of two from 64 on; 0 = a segment
  bool checksum = true;  // of the payload, about 1 % of encode
};

std::unique_ptr<Codec> make_onebit_codec(const OneBitOptions& options = {});

}  // namespace terse
