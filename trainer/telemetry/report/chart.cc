#include "trainer/telemetry/report/chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "trainer/telemetry/format.h"
#include "trainer/telemetry/report/html.h"

namespace terse {
namespace {

constexpr double kWidth = 600, kHeight = 280;
constexpr double kLeft = 58, kRight = 588, kTop = 12, kBottom = 242;
constexpr int kXTicks = 6, kYTicks = 5;

struct Box {
  double x_low = std::numeric_limits<double>::infinity(), x_high = -x_low;
  double y_low = x_low, y_high = -x_low;
  bool empty() const { return !(x_low <= x_high); }
};

bool drawable(const Chart& chart, const Point& p) {
  return std::isfinite(p.x) && std::isfinite(p.y) && (!chart.log_x || p.x > 0) &&
         (!chart.log_y || p.y > 0);
}

Box bounds(const Chart& chart) {
  Box box;
  for (const Series& series : chart.series) {
    for (const Point& p : series.points) {
      if (!drawable(chart, p)) continue;
      box.x_low = std::min(box.x_low, p.x);
      box.x_high = std::max(box.x_high, p.x);
      box.y_low = std::min(box.y_low, p.y);
      box.y_high = std::max(box.y_high, p.y);
    }
  }
  return box;
}

std::string path_data(const Chart& chart, const Series& series, const Axis& x, const Axis& y) {
  std::string out;
  bool pen_down = false;
  for (const Point& p : thin(series.points, static_cast<int>(kRight - kLeft))) {
    if (!drawable(chart, p)) {
      pen_down = false;
      continue;
    }
    out += fmt::format("{}{:.1f} {:.1f}", pen_down ? "L" : "M", x.pixel(p.x), y.pixel(p.y));
    pen_down = true;
  }
  return out;
}

std::string marks(const Chart& chart, const Series& series, const Axis& x, const Axis& y) {
  std::string out;
  for (const Point& p : series.points) {
    if (!drawable(chart, p)) continue;
    out += fmt::format(
        "<circle class=\"dot {}\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3.5\"><title>{} {}: {}</title>"
        "</circle>",
        series.style, x.pixel(p.x), y.pixel(p.y), escape(chart.x_label), format_count(p.x),
        format_number(p.y));
  }
  return out;
}

// First the bands' areas, which lie behind the lines, then their names, which lie above.
struct Bands {
  std::string areas;
  std::string names;
};

Bands bands(const Chart& chart, const Axis& x) {
  Bands out;
  int index = 0;
  for (const Band& band : chart.bands) {
    const double left = std::clamp(x.pixel(band.begin), kLeft, kRight);
    const double right = std::clamp(x.pixel(band.end), kLeft, kRight);
    out.areas += fmt::format(
        "<rect class=\"band band{}\" x=\"{:.1f}\" y=\"{}\" width=\"{:.1f}\" height=\"{}\"/>",
        index++ % 2, left, kTop, right - left, kBottom - kTop);
    // About 6.5 units a letter: a label that does not fit is left out.
    if (right - left > 6.5 * static_cast<double>(band.label.size()) + 8) {
      out.names += fmt::format("<text class=\"name halo\" x=\"{:.1f}\" y=\"{}\">{}</text>",
                               left + 6, kTop + 15, escape(band.label));
    }
  }
  return out;
}

std::string frame(const Chart& chart, const Axis& x, const Axis& y) {
  std::string out;
  for (const Tick& tick : y.ticks(kYTicks)) {
    const double at = y.pixel(tick.value);
    out += fmt::format(
        "<line class=\"grid\" x1=\"{}\" x2=\"{}\" y1=\"{:.1f}\" y2=\"{:.1f}\"/>"
        "<text class=\"tick end\" x=\"{}\" y=\"{:.1f}\">{}</text>",
        kLeft, kRight, at, at, kLeft - 8, at + 4, tick.label);
  }
  for (const Tick& tick : x.ticks(kXTicks)) {
    const double at = x.pixel(tick.value);
    out += fmt::format(
        "<line class=\"grid\" x1=\"{:.1f}\" x2=\"{:.1f}\" y1=\"{}\" y2=\"{}\"/>"
        "<text class=\"tick {}\" x=\"{:.1f}\" y=\"{}\">{}</text>",
        at, at, kBottom, kBottom + 5, at > kRight - 20 ? "end" : "middle",
        at > kRight - 20 ? kRight : at, kBottom + 18, tick.label);
  }
  out += fmt::format("<line class=\"axis\" x1=\"{}\" x2=\"{}\" y1=\"{}\" y2=\"{}\"/>", kLeft,
                     kRight, kBottom, kBottom);
  out += fmt::format("<text class=\"name end\" x=\"{}\" y=\"{}\">{}</text>", kRight, kHeight - 3,
                     escape(chart.x_label));
  return out;
}

std::string legend(const Chart& chart) {
  std::string out;
  for (const Series& series : chart.series) {
    if (series.label.empty()) continue;
    out += fmt::format("<li><i class=\"key {}\"></i>{}</li>", series.style, escape(series.label));
  }
  return out.empty() ? out : "<ul class=\"legend\">" + out + "</ul>";
}

// What a reader without the picture learns: range and last value of the last series.
std::string description(const Chart& chart, const Box& box) {
  std::string last;
  for (const Series& series : chart.series) {
    if (!series.points.empty() && !series.label.empty()) {
      last += fmt::format("; {} ends at {}", series.label, format_number(series.points.back().y));
    }
  }
  return fmt::format("{}, {} from {} to {}{}", chart.subtitle, chart.x_label,
                     format_count(box.x_low), format_count(box.x_high), last);
}

}  // namespace

std::string render_chart(const Chart& chart, const std::string& id) {
  Box box = bounds(chart);
  if (box.empty()) return "";
  box.y_high = std::clamp(chart.y_most, box.y_low, box.y_high);
  const Axis x(box.x_low, box.x_high, kLeft, kRight, chart.x_unit, chart.log_x);
  Axis y(chart.from_zero ? std::min(0.0, box.y_low) : box.y_low, box.y_high, kBottom, kTop,
         chart.y_unit, chart.log_y);
  y.round_outwards(kYTicks);

  const Bands behind = bands(chart, x);
  std::string lines;
  for (const Series& series : chart.series) {
    const std::string data = path_data(chart, series, x, y);
    if (!data.empty()) {
      lines += fmt::format("<path class=\"line {}\" d=\"{}\"/>", series.style, data);
    }
    if (series.dots) lines += marks(chart, series, x, y);
  }
  return fmt::format(
      "<figure><figcaption><h3>{}</h3><p>{}</p>{}</figcaption>\n"
      "<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-labelledby=\"{}-t {}-d\">"
      "<title id=\"{}-t\">{}</title><desc id=\"{}-d\">{}</desc>{}{}"
      "<clipPath id=\"{}-c\"><rect x=\"0\" y=\"{}\" width=\"{}\" height=\"{}\"/></clipPath>"
      "<g clip-path=\"url(#{}-c)\">{}</g>{}</svg></figure>\n",
      escape(chart.title), escape(chart.subtitle), legend(chart), kWidth, kHeight, id, id, id,
      escape(chart.title), id, escape(description(chart, box)), behind.areas, frame(chart, x, y),
      id, kTop - 4, kWidth, kHeight, id, lines, behind.names);
}

}  // namespace terse
