// Patterns: which share of a weight matrix stays, and where.
//
//   N:M              of each M consecutive columns of a row (the input dimension) the N largest in
//                    magnitude stay
//   unstructured:S   of the whole matrix all but the share S of the smallest; kept are
//                    rint((1 - S) elements), as in Zhu & Gupta, arXiv 1710.01878
//
// Of equal magnitudes the one with the lower index stays. Free of torch.
#pragma once
#include <cstdint>
#include <string>

namespace terse {

struct Pattern {
  int64_t keep = 1;    // N; for unstructured 0
  int64_t of = 1;      // M; 0 = unstructured
  double zeros = 0.0;  // S; unstructured only

  bool unstructured() const { return of == 0; }
  bool dense() const { return unstructured() ? zeros == 0.0 : keep == of; }
  // Elements that stay of a matrix with `elements`.
  int64_t kept(int64_t elements) const;
  bool operator==(const Pattern&) const = default;
};

// "2:4", "1:32", "unstructured:0.9"; Error(usage) that says what is possible. 1 <= N <= M <= 1024,
// 0 <= S < 1.
Pattern parse_pattern(const std::string& text);
std::string to_string(const Pattern& pattern);

// Error(usage) that names the layer if M does not divide `columns`: a group must not straddle rows.
void check_fit(const Pattern& pattern, const std::string& layer, int64_t columns);

}  // namespace terse
