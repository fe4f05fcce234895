// Parameters, segments and the bucket plan: what is exchanged, and in which order.
//
// A parameter's gradient is one segment; segments that become ready one after the other in backward
// are fused into a bucket, one message each. The plan is fixed before the first exchange, broadcast
// by rank 0, compared by hash and saved in the checkpoint: every rank issues the same collectives
// in the same order.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace terse {

// Half-open range of elements.
struct Range {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t size() const { return end - begin; }
};

// One parameter inside a bucket: elements [offset, offset + size), row-major rows x columns
// (a vector is 1 x n). `decay`: weight decay applies.
struct Segment {
  std::string name;
  int64_t offset = 0;
  int64_t size = 0;
  int64_t rows = 1;
  int64_t columns = 0;
  bool decay = true;
  // Of a slice (slice_bucket), which has no shape of its own:
  bool part_of_matrix = false;
  int64_t begin = 0;  // where in the parameter it begins
  // Vectors (norms, biases) are few and sensitive: codecs that drop elements send them whole.
  bool matrix() const { return rows > 1 || part_of_matrix; }
};

// Segments lie back to back: size = sum of the segments' sizes; there is no padding.
struct Bucket {
  int64_t index = 0;
  int64_t size = 0;
  std::vector<Segment> segments;
};

struct BucketPlan {
  std::vector<Bucket> buckets;
  std::string text() const;  // canonical, one line a segment; parse() undoes it
  static BucketPlan parse(const std::string& text);  // Error(invalid_file) if malformed
  uint64_t hash() const;                             // of text()
};

// What the plan is made from, in the order in which gradients become ready.
struct SegmentSpec {
  std::string name;
  int64_t rows = 1;
  int64_t columns = 0;
  bool decay = true;
};
// Fills buckets up to `bytes` of fp32 (a larger segment has one of its own).
BucketPlan plan_buckets(const std::vector<SegmentSpec>& ready_order, int64_t bytes);

// Chunk j of a bucket of n elements over N ranks, for two-stage exchanges:
// [j c, min((j+1) c, n)) with c = 64 ceil(n / 64 N). Later chunks may be short or empty.
Range chunk_of(int64_t n, int64_t ranks, int64_t j);

}  // namespace terse
