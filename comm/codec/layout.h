// Which elements of a bucket share a scale, in which order their sums are taken, and in which order
// blocks are worked on: shared by all codecs with scales.
//
// A group is a segment, or with `block` > 0 the part of a segment inside one block of the bucket
// ([k block, (k+1) block)). Work is cut into windows of 4,096 elements, aligned in the bucket: the
// part of a group inside a window is a piece. A piece's sum is taken in fp32 in 64 lanes (kernels),
// pieces are added in fp64 in order: the result is the same for every thread count, instruction set
// and number of ranks.
#pragma once
#include <cstdint>
#include <vector>

#include "comm/bucket.h"

namespace terse {

inline constexpr int64_t kWindow = 4096;

struct Piece {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t group = 0;
  bool whole = false;  // the piece is its whole group
};

// First sum the windows [sum.begin, sum.end), whereupon the groups [groups.begin, groups.end) are
// complete, then pack the windows [pack.begin, pack.end). About a million elements are summed
// before they are packed, so that the second pass finds them in the cache.
struct LayoutStep {
  Range sum;
  Range groups;
  Range pack;
};

class Layout {
 public:
  // `block`: 0 or a power of two from 64 on.
  Layout(const Bucket& bucket, int64_t block);

  int64_t size() const { return size_; }
  int64_t windows() const { return static_cast<int64_t>(first_piece_.size()) - 1; }
  int64_t groups() const { return static_cast<int64_t>(groups_.size()); }
  Range group(int64_t g) const { return groups_[static_cast<size_t>(g)]; }
  const std::vector<Piece>& pieces() const { return pieces_; }
  Range pieces_of_window(int64_t w) const;
  Range pieces_of_group(int64_t g) const;
  // All groups in the window lie inside it: it can be summed and packed in one go.
  bool closed(int64_t w) const { return closed_[static_cast<size_t>(w)]; }
  const std::vector<LayoutStep>& steps() const { return steps_; }
  // Groups that share elements with a range of the bucket.
  Range groups_of(Range range) const;

 private:
  void cut_groups(const Bucket& bucket, int64_t block);
  void cut_pieces();
  void plan_steps();

  int64_t size_ = 0;
  std::vector<Range> groups_;
  std::vector<Piece> pieces_;
  std::vector<int64_t> first_piece_;           // of each window; one more at the end
  std::vector<int64_t> first_piece_of_group_;  // one more at the end
  std::vector<bool> closed_;
  std::vector<LayoutStep> steps_;
};

}  // namespace terse
