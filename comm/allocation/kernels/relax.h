// The inner loop of the allocation's dynamic programme.
#pragma once
#include <cstdint>

namespace terse {

// A choice: uses up `parts` of the budget and costs `cost`.
struct RelaxItem {
  int64_t parts = 0;
  double cost = 0;
};

#define TERSE_DECLARE_RELAX(isa)                                                          \
  namespace isa {                                                                         \
  /* row[j] = min over items with parts <= j of previous[j - parts] + cost, infinite if   \
     there is none; 0 <= j < size. The rows must not overlap. */                          \
  void relax_row(const double* previous, int64_t size, const RelaxItem* items, int64_t n, \
                 double* row);                                                            \
  }
TERSE_DECLARE_RELAX(scalar)
TERSE_DECLARE_RELAX(avx2)
TERSE_DECLARE_RELAX(avx512)
#undef TERSE_DECLARE_RELAX

}  // namespace terse
