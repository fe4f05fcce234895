#include "comm/allocation/programme.h"

#include <algorithm>

#include "base/error.h"
#include "base/isa.h"
#include "comm/allocation/kernels/relax.h"

namespace terse {

AllocationProgramme::AllocationProgramme(const AllocationTable& table)
    : table_(table),
      rows_(std::make_unique_for_overwrite<double[]>(
          static_cast<size_t>((table.rows() + 1) * (table.capacity() + 1)))) {
  const int64_t size = table.capacity() + 1;
  std::fill_n(row(0), size, 0.0);
  std::vector<RelaxItem> items;
  for (int64_t l = 0; l < table.rows(); ++l) {
    items.clear();
    for (const AllocationItem& item : table.items(l)) items.push_back({item.parts, item.cost});
    TERSE_DISPATCH(
        relax_row(row(l), size, items.data(), static_cast<int64_t>(items.size()), row(l + 1)));
  }
}

int64_t AllocationProgramme::fewest_parts(int64_t j) const {
  const double* last = row(table_.rows());
  // Costs fall with j: more of the budget never costs more.
  return std::partition_point(last, last + j, [&](double c) { return c > last[j]; }) - last;
}

void AllocationProgramme::trace(int64_t j, std::vector<int64_t>& choice) const {
  for (int64_t l = table_.rows(); l-- > 0;) {
    const double wanted = row(l + 1)[j];
    const auto& items = table_.items(l);
    const auto found = std::find_if(items.begin(), items.end(), [&](const AllocationItem& item) {
      return item.parts <= j && row(l)[j - item.parts] + item.cost == wanted;
    });
    TERSE_CHECK(found != items.end(), "no way back from part {} of segment {}", j, l);
    choice[static_cast<size_t>(table_.segments()[static_cast<size_t>(l)])] = found->choice;
    j -= found->parts;
  }
}

}  // namespace terse
