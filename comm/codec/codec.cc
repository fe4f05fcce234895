#include "comm/codec/codec.h"

#include <algorithm>

#include "base/error.h"

namespace terse {

void Codec::refuse(std::span<const double> parameters) const {
  if (!parameters.empty())
    fail(ExitCode::usage,
         "codec {} has no parameter that could differ by segment, but {} were given; choose bits "
         "or topk",
         name(), parameters.size());
}

Bucket slice_bucket(const Bucket& bucket, Range range) {
  Bucket slice{.index = bucket.index, .size = range.size(), .segments = {}};
  for (const Segment& segment : bucket.segments) {
    const int64_t begin = std::max(segment.offset, range.begin);
    const int64_t end = std::min(segment.offset + segment.size, range.end);
    if (begin >= end) continue;
    Segment cut = segment;
    cut.offset = begin - range.begin;
    cut.size = end - begin;
    cut.rows = 1;  // a cut has no shape of its own
    cut.columns = cut.size;
    slice.segments.push_back(std::move(cut));
  }
  return slice;
}

}  // namespace terse
