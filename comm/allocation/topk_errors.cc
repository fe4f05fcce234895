#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "comm/allocation/error_tables.h"

namespace terse {
namespace {

constexpr double kInfinite = std::numeric_limits<double>::infinity();
// |x| as an integer sorts as the number does; its sign bit is 0.
constexpr int kShift = 16;
constexpr size_t kBins = size_t{1} << (31 - kShift);

uint32_t magnitude(float x) {
  return std::bit_cast<uint32_t>(x) & 0x7fffffffu;
}

double square(float x) {
  return static_cast<double>(x) * static_cast<double>(x);
}

// Elements and sum of squares of each bin.
struct Histogram {
  std::vector<int64_t> count = std::vector<int64_t>(kBins);
  std::vector<double> squares = std::vector<double>(kBins);

  explicit Histogram(std::span<const float> x) {
    for (const float v : x) {
      const size_t bin = magnitude(v) >> kShift;
      ++count[bin];
      squares[bin] += square(v);
    }
  }
};

// Below bin `bin` everything is left out; of the bin itself the `out` smallest.
struct Cut {
  size_t bin = 0;
  int64_t out = 0;
  double below = 0;
};

Cut find_cut(const Histogram& histogram, int64_t left_out) {
  Cut cut{0, left_out, 0};
  while (cut.bin + 1 < kBins && cut.out >= histogram.count[cut.bin]) {
    cut.out -= histogram.count[cut.bin];
    cut.below += histogram.squares[cut.bin];
    ++cut.bin;
  }
  return cut;
}

}  // namespace

double norm(std::span<const float> x) {
  double sum = 0;
  for (const float v : x) sum += square(v);
  return std::isfinite(sum) ? std::sqrt(sum) : kInfinite;
}

std::vector<double> topk_errors(std::span<const float> x, std::span<const int64_t> kept) {
  const Histogram histogram(x);
  std::vector<double> errors(kept.size(), kInfinite);
  // Bins from here on hold infinities and NaNs.
  constexpr size_t kNotFinite = 0x7f800000u >> kShift;
  if (std::any_of(histogram.count.begin() + kNotFinite, histogram.count.end(),
                  [](int64_t n) { return n > 0; }))
    return errors;

  const auto size = static_cast<int64_t>(x.size());
  std::vector<Cut> cuts;
  std::vector<int16_t> slot(kBins, -1);  // of the bins that are cut
  std::vector<std::vector<uint32_t>> inside;
  for (const int64_t k : kept) {
    cuts.push_back(find_cut(histogram, size - std::clamp(k, int64_t{0}, size)));
    int16_t& s = slot[cuts.back().bin];
    if (cuts.back().out == 0 || s >= 0) continue;
    s = static_cast<int16_t>(inside.size());
    inside.emplace_back();
  }
  for (const float v : x)
    if (const int16_t s = slot[magnitude(v) >> kShift]; s >= 0)
      inside[static_cast<size_t>(s)].push_back(magnitude(v));
  for (auto& elements : inside) std::sort(elements.begin(), elements.end());
  for (size_t i = 0; i < cuts.size(); ++i) {
    double sum = cuts[i].below;
    for (int64_t n = 0; n < cuts[i].out; ++n)
      sum += square(std::bit_cast<float>(
          inside[static_cast<size_t>(slot[cuts[i].bin])][static_cast<size_t>(n)]));
    errors[i] = std::sqrt(sum);
  }
  return errors;
}

}  // namespace terse
