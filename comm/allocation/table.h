// The allocation problem as the dynamic programme reads it: unusable and dominated choices gone,
// errors both exact and in parts of the budget. Internal to comm/allocation.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "comm/allocation/allocation.h"

namespace terse {

// One choice that is left.
struct AllocationItem {
  int64_t choice = 0;  // index in the segment
  int64_t parts = 0;   // of the budget, rounded up
  double cost = 0;
  double term = 0;  // error or its square
};

class AllocationTable {
 public:
  AllocationTable(std::span<const AllocationSegment> segments, const AllocationOptions& options);

  int64_t rows() const { return static_cast<int64_t>(items_.size()); }
  // Items of the l-th free segment, error rising, cost falling strictly.
  const std::vector<AllocationItem>& items(int64_t l) const {
    return items_[static_cast<size_t>(l)];
  }
  // The free segments: those whose reference is usable.
  const std::vector<int64_t>& segments() const { return free_; }
  int64_t bins() const { return bins_; }
  // Parts that are looked at: bins + rows.
  int64_t capacity() const { return bins_ + rows(); }
  double budget() const { return budget_; }

  // Of one choice for each segment, in the order of segments: the same sum for every caller, so
  // that the reference's error is the budget itself (alpha = 1).
  double error(std::span<const int64_t> choice) const;
  double cost(std::span<const int64_t> choice) const;
  double term(int64_t segment, int64_t choice) const;  // infinite if unusable
  double cost(int64_t segment, int64_t choice) const { return at(segment, choice).cost; }

 private:
  const Choice& at(int64_t segment, int64_t choice) const {
    return segments_[static_cast<size_t>(segment)].choices[static_cast<size_t>(choice)];
  }
  void fill(int64_t segment);

  std::span<const AllocationSegment> segments_;
  BudgetRule rule_;
  int64_t bins_;
  double budget_ = 0;
  std::vector<int64_t> free_;
  std::vector<std::vector<AllocationItem>> items_;
};

}  // namespace terse
