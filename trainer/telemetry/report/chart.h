// A line chart as inline SVG in a <figure>: title, legend, axes, lines, bands. Colours are CSS
// classes of report/style.h, so that light and dark need no second drawing.
#pragma once
#include <limits>
#include <string>
#include <vector>

#include "trainer/telemetry/report/axis.h"

namespace terse {

struct Point {
  double x = 0;
  double y = 0;  // NaN breaks the line
};

struct Series {
  std::string label;          // in the legend; empty: not there
  std::string style = "a";    // CSS class: "a", "b", "c" or "faint"
  std::vector<Point> points;  // ascending x
  bool dots = false;          // marks with a tooltip each, joined by the line
};

// A span of the x axis with a name, behind the lines.
struct Band {
  double begin = 0;
  double end = 0;
  std::string label;
};

struct Chart {
  std::string title;
  std::string subtitle;  // the y axis in words, with its unit
  std::string x_label;
  Unit x_unit = Unit::count;
  Unit y_unit = Unit::plain;
  bool log_x = false;
  bool log_y = false;
  bool from_zero = false;  // the y axis starts at 0
  // The y axis ends here and lines are cut off above: so that the first steps of a run do not press
  // the others flat.
  double y_most = std::numeric_limits<double>::infinity();
  std::vector<Series> series;
  std::vector<Band> bands;
};

// Empty if no series has a drawable point. `id`: unique in the page.
std::string render_chart(const Chart& chart, const std::string& id);

// The mean of about `window` points around each, fewer towards the ends, so that nothing lags;
// points that are not finite are left out.
std::vector<Point> smooth(const std::vector<Point>& points, double window);

// At most two points (the lowest and the highest) for each of `columns` equal spans of x: the drawn
// line covers the same pixels.
std::vector<Point> thin(const std::vector<Point>& points, int columns);

}  // namespace terse
