#include <algorithm>
#include <cmath>

#include "trainer/telemetry/report/chart.h"

namespace terse {

std::vector<Point> smooth(const std::vector<Point>& points, double window) {
  const double keep = 1 - 1 / std::max(window, 1.0);
  std::vector<Point> out;
  out.reserve(points.size());
  double sum = 0, weight = 0;
  for (const Point& p : points) {
    if (!std::isfinite(p.y)) continue;
    sum = keep * sum + (1 - keep) * p.y;
    weight = keep * weight + (1 - keep);
    out.push_back({p.x, sum / weight});
  }
  return out;
}

std::vector<Point> thin(const std::vector<Point>& points, int columns) {
  if (points.size() <= static_cast<size_t>(2 * columns)) return points;
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
