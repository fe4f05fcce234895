#include "base/keys.h"

#include <algorithm>
#include <numeric>

namespace terse {
namespace {

size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
    }
  }
  return row[b.size()];
}

}  // namespace

std::string nearest(std::string_view wrong, const std::vector<std::string>& choices) {
  std::string best;
  size_t least = std::max<size_t>(2, wrong.size() / 2) + 1;
  for (const std::string& choice : choices) {
    const size_t d = edit_distance(wrong, choice);
    if (d < least) {
      least = d;
      best = choice;
    }
  }
  return best;
}

}  // namespace terse
