#include "comm/allocation/kernels/relax.h"

namespace terse::TERSE_ISA {
namespace {

// A block of the row stays in the first-level cache while all choices are tried on it.
constexpr int64_t kBlock = 1024;

}  // namespace

void relax_row(const double* __restrict previous, int64_t size, const RelaxItem* items, int64_t n,
               double* __restrict row) {
  for (int64_t begin = 0; begin < size; begin += kBlock) {
    const int64_t end = begin + kBlock < size ? begin + kBlock : size;
    for (int64_t j = begin; j < end; ++j) row[j] = __builtin_inf();
    for (int64_t i = 0; i < n; ++i) {
      const int64_t parts = items[i].parts, first = parts > begin ? parts : begin;
      const double cost = items[i].cost;
      for (int64_t j = first; j < end; ++j) {
        const double candidate = previous[j - parts] + cost;
        row[j] = candidate < row[j] ? candidate : row[j];
      }
    }
  }
}

}  // namespace terse::TERSE_ISA
