// Internal: rows of a tensor on all threads.
#pragma once
#include <algorithm>
#include <cstdint>
#include <exception>
#include <vector>

#include "export/byte_source.h"

namespace terse {

// Calls work(row) for each of [0, rows), in any order and on any thread, and throws what the first
// row that failed has thrown. `elements` of a row decide whether threads are worth waking.
template <typename Work>
void each_row(int64_t rows, int64_t elements, const Work& work) {
  constexpr int64_t kWorthIt = 1 << 15;
  int64_t failed = rows;
  std::exception_ptr error;
#pragma omp parallel for schedule(static) if (rows > 1 && rows > kWorthIt / (elements + 1))
  for (int64_t r = 0; r < rows; ++r) {
    try {
      work(r);
    } catch (...) {
#pragma omp critical
      if (r < failed) {
        failed = r;
        error = std::current_exception();
      }
    }
  }
  if (error) std::rethrow_exception(error);
}

// Sends `rows` rows of `row_bytes` bytes to the sink, many at a time: fill(row, out) makes one, as
// each_row calls it. `out` still holds what was there before.
template <typename Fill>
void send_rows(int64_t rows, int64_t row_bytes, int64_t elements, const ByteSink& sink,
               const Fill& fill) {
  constexpr int64_t kPiece = 1 << 20;  // stays in a core's cache until it is written
  const int64_t strip =
      std::clamp<int64_t>(kPiece / std::max<int64_t>(row_bytes, 1), 1, std::max<int64_t>(rows, 1));
  std::vector<std::byte> piece(static_cast<size_t>(strip * row_bytes));
  for (int64_t first = 0; first < rows; first += strip) {
    const int64_t count = std::min(strip, rows - first);
    each_row(count, elements, [&](int64_t r) { fill(first + r, piece.data() + r * row_bytes); });
    sink(std::span(piece).first(static_cast<size_t>(count * row_bytes)));
  }
}

}  // namespace terse
