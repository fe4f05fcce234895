// How the ranks of a node share a bucket: each owns one slice of it (comm/hierarchical_exchange.h).
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "comm/bucket.h"

namespace terse {

enum class Slicing : uint8_t {
  even,      // equal parts, multiples of 64 elements (chunk_of); matrices are cut
  segments,  // whole segments, so that a matrix keeps its shape
};

// slices[b][l]: what local rank l of `ranks` owns of bucket b; ascending, back to back, covering
// it. A pure function, so the same on every node. `segments` minimises, bucket after bucket, the
// sum of the squares of what each rank owns so far: large matrices, alone in their buckets, go
// round. A slice may be empty.
std::vector<std::vector<Range>> node_slices(const BucketPlan& plan, int64_t ranks, Slicing slicing);

// The bits [range) of a mask as Exchange::set_live takes it, as a mask of their own.
at::Tensor slice_words(const at::Tensor& words, Range range);

}  // namespace terse
