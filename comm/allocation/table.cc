#include "comm/allocation/table.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>

#include "base/error.h"

namespace terse {
namespace {

void check(const AllocationSegment& segment, size_t l) {
  const auto size = static_cast<int64_t>(segment.choices.size());
  TERSE_CHECK(size > 0, "segment {} has no choices", l);
  TERSE_CHECK(segment.reference >= 0 && segment.reference < size,
              "segment {}: reference {} of {} choices", l, segment.reference, size);
  TERSE_CHECK(segment.current >= -1 && segment.current < size,
              "segment {}: current {} of {} choices", l, segment.current, size);
  const Choice& uniform = segment.choices[static_cast<size_t>(segment.reference)];
  TERSE_CHECK(std::isfinite(uniform.cost), "segment {}: the reference costs {}", l, uniform.cost);
  for (const Choice& c : segment.choices)
    TERSE_CHECK(!(c.cost < 0) && !(c.error < 0), "segment {}: cost {}, error {}", l, c.cost,
                c.error);
}

}  // namespace

AllocationTable::AllocationTable(std::span<const AllocationSegment> segments,
                                 const AllocationOptions& options)
    : segments_(segments), rule_(options.rule), bins_(options.bins) {
  TERSE_CHECK(options.alpha > 0 && std::isfinite(options.alpha), "alpha {}", options.alpha);
  TERSE_CHECK(options.bins > 0, "{} bins", options.bins);
  TERSE_CHECK(options.hysteresis >= 0, "hysteresis {}", options.hysteresis);
  std::vector<int64_t> reference;
  for (size_t l = 0; l < segments.size(); ++l) {
    check(segments[l], l);
    reference.push_back(segments[l].reference);
    if (std::isfinite(term(static_cast<int64_t>(l), reference.back())))
      free_.push_back(static_cast<int64_t>(l));
  }
  budget_ = options.alpha * error(reference);
  for (const int64_t l : free_) fill(l);
}

double AllocationTable::term(int64_t segment, int64_t choice) const {
  const Choice& c = at(segment, choice);
  if (!std::isfinite(c.cost) || !std::isfinite(c.error))
    return std::numeric_limits<double>::infinity();
  return rule_ == BudgetRule::norms ? c.error : c.error * c.error;
}

void AllocationTable::fill(int64_t segment) {
  const auto& choices = segments_[static_cast<size_t>(segment)].choices;
  const double part = budget_ / static_cast<double>(bins_);
  const auto last = static_cast<double>(bins_ + static_cast<int64_t>(free_.size()));
  std::vector<AllocationItem> all, kept;
  for (size_t c = 0; c < choices.size(); ++c) {
    const double t = term(segment, static_cast<int64_t>(c));
    if (!std::isfinite(t)) continue;
    // 0 / 0 where nothing has an error; the comparison below is false for infinity and NaN.
    const double parts = t == 0 ? 0 : std::ceil(t / part);
    if (!(parts <= last)) continue;
    all.push_back({static_cast<int64_t>(c), static_cast<int64_t>(parts), choices[c].cost, t});
  }
  std::sort(all.begin(), all.end(), [](const AllocationItem& a, const AllocationItem& b) {
    return std::tie(a.term, a.cost, a.choice) < std::tie(b.term, b.cost, b.choice);
  });
  for (const AllocationItem& item : all)
    if (kept.empty() || item.cost < kept.back().cost) kept.push_back(item);
  items_.push_back(std::move(kept));
}

double AllocationTable::error(std::span<const int64_t> choice) const {
  double sum = 0;
  for (const int64_t l : free_) sum += term(l, choice[static_cast<size_t>(l)]);
  return sum;
}

double AllocationTable::cost(std::span<const int64_t> choice) const {
  double sum = 0;
  for (size_t l = 0; l < segments_.size(); ++l) sum += cost(static_cast<int64_t>(l), choice[l]);
  return sum;
}

}  // namespace terse
