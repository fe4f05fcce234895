// The dynamic programme over an AllocationTable. Internal to comm/allocation.
//
//   cost(l, j) = min over items i of segment l with parts_i <= j of cost(l - 1, j - parts_i) +
//   cost_i
//
// All rows are kept, and the way back finds each item again by the same addition: the inner loop
// is then a minimum over contiguous numbers and nothing else.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "comm/allocation/table.h"

namespace terse {

class AllocationProgramme {
 public:
  explicit AllocationProgramme(const AllocationTable& table);

  // The cheapest allocation that takes at most j parts of the budget, infinite if there is none.
  double cost(int64_t j) const { return row(table_.rows())[j]; }
  // The fewest parts for which the cost is that of j.
  int64_t fewest_parts(int64_t j) const;
  // Writes the allocation behind cost(j), which must be finite, to the free segments of `choice`:
  // from the last segment to the first, the item that takes the fewest parts.
  void trace(int64_t j, std::vector<int64_t>& choice) const;

 private:
  double* row(int64_t l) const { return rows_.get() + l * (table_.capacity() + 1); }

  const AllocationTable& table_;
  std::unique_ptr<double[]> rows_;  // every number is written once, so none is cleared before
};

}  // namespace terse
