#include <algorithm>
#include <cmath>

#include "trainer/telemetry/report/chart.h"

namespace terse {

std::vector<Point> smooth(const std::vector<Point>& points, double window) {
  std::vector<Point> finite;
  std::vector<double> sums = {0};  // of the first i finite points
  for (const Point& p : points) {
    if (!std::isfinite(p.y)) continue;
    finite.push_back(p);
    sums.push_back(sums.back() + p.y);
  }
  const auto half = static_cast<size_t>(std::max(window, 1.0) / 2);
  for (size_t i = 0; i < finite.size(); ++i) {
    const size_t reach = std::min({half, i, finite.size() - 1 - i});
    finite[i].y = (sums[i + reach + 1] - sums[i - reach]) / static_cast<double>(2 * reach + 1);
  }
  return finite;
}

std::vector<Point> thin(const std::vector<Point>& points, int columns) {
  if (points.size() <= 2 * static_cast<size_t>(columns)) return points;
  const double first = points.front().x;
  const double width = (points.back().x - first) / columns;
  std::vector<Point> out;
  for (size_t begin = 0; begin < points.size();) {
    const double column = std::floor((points[begin].x - first) / width);
    size_t low = begin, high = begin, end = begin;
    for (; end < points.size() && std::floor((points[end].x - first) / width) == column; ++end) {
      if (!(points[end].y >= points[low].y)) low = end;  // a NaN counts as lowest: the gap stays
      if (points[end].y > points[high].y) high = end;
    }
    out.push_back(points[std::min(low, high)]);
    if (low != high) out.push_back(points[std::max(low, high)]);
    begin = end;
  }
  return out;
}

}  // namespace terse
