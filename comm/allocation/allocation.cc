#include "comm/allocation/allocation.h"

#include <cmath>

#include "comm/allocation/programme.h"
#include "comm/allocation/table.h"

namespace terse {
namespace {

using Choices = std::vector<int64_t>;

// The cheapest allocation of the programme that meets the budget without rounding; `found` is
// untouched if there is none. Within table.bins() parts every allocation does, beyond them about
// half the way to the capacity.
bool cheapest_within(const AllocationTable& table, Choices& found) {
  const AllocationProgramme programme(table);
  for (int64_t j = table.capacity(); j >= 0 && std::isfinite(programme.cost(j)); --j) {
    j = programme.fewest_parts(j);
    Choices choice = found;
    programme.trace(j, choice);
    if (table.error(choice) > table.budget()) continue;
    found = std::move(choice);
    return true;
  }
  return false;
}

struct Move {
  int64_t segment = -1;
  int64_t choice = 0;
  double saves = 0;
};

// The change of one segment that saves most and still fits; its segment is -1 if there is none.
Move best_move(const AllocationTable& table, const Choices& choice) {
  const double room = table.budget() - table.error(choice);
  Move best;
  for (int64_t l = 0; l < table.rows(); ++l) {
    const int64_t segment = table.segments()[static_cast<size_t>(l)];
    const int64_t now = choice[static_cast<size_t>(segment)];
    const double cost = table.cost(segment, now), term = table.term(segment, now);
    for (const AllocationItem& item : table.items(l))
      if (cost - item.cost > best.saves && item.term - term <= room)
        best = {segment, item.choice, cost - item.cost};
  }
  return best;
}

// Spends what rounding left of the budget.
void polish(const AllocationTable& table, Choices& choice) {
  while (true) {
    const Move move = best_move(table, choice);
    if (move.segment < 0) return;
    Choices changed = choice;
    changed[static_cast<size_t>(move.segment)] = move.choice;
    // The room above is a difference of rounded sums.
    if (table.error(changed) > table.budget()) return;
    choice = std::move(changed);
  }
}

}  // namespace

AllocationResult solve_allocation(std::span<const AllocationSegment> segments,
                                  const AllocationOptions& options) {
  const AllocationTable table(segments, options);
  Choices reference, current;
  for (const AllocationSegment& s : segments) {
    reference.push_back(s.reference);
    current.push_back(s.current < 0 ? s.reference : s.current);
  }
  AllocationResult result;
  result.budget = table.budget();
  result.reference_cost = table.cost(reference);
  result.current_cost = table.cost(current);
  result.current_error = table.error(current);

  const bool uniform_fits = table.error(reference) <= table.budget();
  result.choice = reference;
  const bool found = cheapest_within(table, result.choice);
  // Rounding can hide the reference behind a cheaper allocation that does not fit.
  if (uniform_fits && (!found || table.cost(result.choice) > result.reference_cost))
    result.choice = reference;
  result.within_budget = found || uniform_fits;
  if (result.within_budget) polish(table, result.choice);
  result.cost = table.cost(result.choice);
  result.error = table.error(result.choice);
  result.switches = result.cost < (1 - options.hysteresis) * result.current_cost ||
                    result.current_error > (1 + options.hysteresis) * result.budget;
  return result;
}

}  // namespace terse
