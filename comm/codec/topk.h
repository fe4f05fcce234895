// Top-k sparsification: the k elements of largest magnitude of each segment, with their indices
// (Aji and Heafield, arXiv:1704.05021; Deep Gradient Compression, Lin et al., arXiv:1712.01887).
//
//   k = max(1, ceil(density n)), n = live elements of the segment
//   Q(x)_i = x_i if |x_i| is among the k largest, else 0;   |x - Q(x)|^2 <= (1 - k / n) |x|^2
//
// Equal magnitudes go by lowest index, so that exactly k are sent; zeros never are. The residual
// keeps all that was not sent. Selection is over whole segments, wherever the parts cut them
// (comm/codec/select.h says how; rules `sampled` and `threshold` are its options too).
// Segments that are vectors (Segment::matrix() is false), have fewer than `dense_below` elements or
// a density of 1 are sent as plain values without indices. With parameters at bind() these alone
// decide: a density of 1 is dense, any other is not, so that a cut of a matrix (slice_bucket) can
// be sparse as well: topk_densities() gives the parameters that stand for the options.
//
// selected() holds the coordinates of sparse segments only: DGC does not mask the velocity of a
// segment that is sent whole, which leaves ordinary momentum there.
//
// Message: 64 bytes of header, 4 bytes a sparse segment, 4 (bf16: 2) bytes a value and, at 0.1 %,
// about 2 bytes an index. bytes(j) is what the worst gaps take. Cost of encode with residual: reads
// 8 and writes 4 bytes an element once, and about 7 % of the elements again. Buckets have fewer
// than 2^31 elements.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "comm/codec/codec.h"
#include "comm/codec/select.h"

namespace terse {

struct TopKOptions {
  double density = 0.001;
  SelectRule select = SelectRule::exact;
  float threshold = 0;        // |x| from which on elements are sent: of SelectRule::threshold
  bool bf16_values = false;   // values rounded to bf16; the residual keeps what that loses
  int64_t dense_below = 256;  // segments with fewer elements are sent whole
  bool checksum = true;       // of the payload
};

// Error(usage) if an option is out of range.
std::unique_ptr<Codec> make_topk_codec(const TopKOptions& options = {});

// One density a segment, as bind() without parameters takes them: options.density, or 1 where the
// segment is sent whole.
std::vector<double> topk_densities(const Bucket& bucket, const TopKOptions& options);

// max(1, ceil(density n)), at most n. A product that misses a whole number by rounding counts as
// it.
int64_t topk_count(double density, int64_t n);

}  // namespace terse
