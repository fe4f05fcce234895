#include "export/parallel_rows.h"

#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <utility>

#include "base/error.h"

namespace terse {
namespace {

TEST(EachRow, VisitsEveryRowOnce) {
  for (const int64_t rows : {0, 1, 7, 1000}) {
    std::vector<std::atomic<int>> visits(static_cast<size_t>(rows));
    each_row(rows, 1000, [&](int64_t r) { ++visits[static_cast<size_t>(r)]; });
    for (const auto& visit : visits) EXPECT_EQ(visit.load(), 1);
  }
}

TEST(EachRow, ThrowsWhatTheFirstFailingRowThrew) {
  for (const int64_t elements : {1, 100'000}) {  // on one thread, on all
    try {
      each_row(100, elements, [](int64_t r) {
        if (r % 30 == 29) fail(ExitCode::invalid_file, "row {}", r);
      });
      FAIL() << "no error";
    } catch (const Error& e) {
      EXPECT_EQ(std::string(e.what()), "row 29");
    }
  }
}

// Rows longer than a piece, rows of which several make one, and none at all.
TEST(SendRows, GivesTheRowsInOrder) {
  for (const auto& [rows, row_bytes] : std::vector<std::pair<int64_t, int64_t>>{
           {0, 8}, {1, 3}, {3, 700'000}, {2, 3'000'000}, {5000, 777}}) {
    int64_t at = 0;
    bool same = true;
    send_rows(
        rows, row_bytes, row_bytes,
        [&, size = row_bytes](std::span<const std::byte> piece) {
          for (const std::byte b : piece) same &= b == static_cast<std::byte>(at++ / size % 251);
        },
        [size = static_cast<size_t>(row_bytes)](int64_t r, std::byte* out) {
          std::fill_n(out, size, static_cast<std::byte>(r % 251));
        });
    EXPECT_TRUE(same) << rows;
    EXPECT_EQ(at, rows * row_bytes);
  }
}

}  // namespace
}  // namespace terse
