// What the kernels of codecs with a scale per group work on: arrays that begin at a multiple of 64
// elements of the bucket, cut into words of 64. Null pointers as in EncodeInput.
#pragma once
#include <cstdint>

namespace terse {

struct CodecArrays {
  const float* message = nullptr;
  const float* residual = nullptr;
  float* shadow = nullptr;
  // Word w: elements 64 w to 64 w + 63, least significant bit first.
  const uint64_t* live = nullptr;

  // The same arrays from element `elements` (a multiple of 64) on.
  CodecArrays from(int64_t elements) const {
    return {message + elements, residual == nullptr ? nullptr : residual + elements,
            shadow == nullptr ? nullptr : shadow + elements,
            live == nullptr ? nullptr : live + elements / 64};
  }
};

}  // namespace terse
