#include "trainer/telemetry/report/chart.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "trainer/telemetry/report/html.h"

namespace terse {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::string> labels(const Axis& axis, int most) {
  std::vector<std::string> out;
  for (const Tick& tick : axis.ticks(most)) out.push_back(tick.label);
  return out;
}

TEST(Axis, TicksAreRound) {
  EXPECT_THAT(labels(Axis(0, 10, 0, 100, Unit::plain, false), 5),
              ElementsAre("0", "2", "4", "6", "8", "10"));
  EXPECT_THAT(labels(Axis(0.11, 0.34, 0, 1, Unit::plain, false), 5),
              ElementsAre("0.15", "0.20", "0.25", "0.30"));
  EXPECT_THAT(labels(Axis(0, 20000, 0, 1, Unit::count, false), 4),
              ElementsAre("0", "5k", "10k", "15k", "20k"));
  EXPECT_THAT(labels(Axis(0, 150, 0, 1, Unit::seconds, false), 5),
              ElementsAre("0", "30 s", "1 min", "1m30s", "2 min", "2m30s"));
  EXPECT_THAT(labels(Axis(2e6, 3e8, 0, 1, Unit::bytes, true), 5), ElementsAre("10 MB", "100 MB"));
  EXPECT_THAT(labels(Axis(2e6, 3e7, 0, 1, Unit::bytes, true), 5),
              ElementsAre("2 MB", "5 MB", "10 MB", "20 MB"));
}

// Whatever the range: few, ascending, inside.
TEST(Axis, TicksStayInRange) {
  for (double low : {-3.7, 0.0, 1e-7, 12345.6}) {
    for (double span : {1e-9, 0.003, 1.0, 7.0, 1e6, 1e12}) {
      const Axis axis(low, low + span, 0, 100, Unit::plain, false);
      const auto ticks = axis.ticks(5);
      EXPECT_LE(ticks.size(), 6u) << low << " " << span;
      EXPECT_GE(ticks.size(), 2u) << low << " " << span;
      for (size_t i = 0; i < ticks.size(); ++i) {
        // One pixel in a million: the rounding of a product.
        EXPECT_GE(axis.pixel(ticks[i].value), -1e-4);
        EXPECT_LE(axis.pixel(ticks[i].value), 100 + 1e-4);
        if (i > 0) {
          EXPECT_GT(ticks[i].value, ticks[i - 1].value);
        }
      }
    }
  }
}

TEST(Axis, MapsLinearlyAndByFactors) {
  EXPECT_DOUBLE_EQ(Axis(2, 4, 100, 0, Unit::plain, false).pixel(3), 50);
  EXPECT_DOUBLE_EQ(Axis(1, 100, 0, 80, Unit::plain, true).pixel(10), 40);
  EXPECT_TRUE(std::isfinite(Axis(5, 5, 0, 1, Unit::plain, false).pixel(5)));
  EXPECT_TRUE(std::isfinite(Axis(0, 0, 0, 1, Unit::plain, false).pixel(0)));
}

TEST(Thin, KeepsEachColumnsExtremes) {
  std::vector<Point> points;
  for (int i = 0; i < 10000; ++i)
    points.push_back({double(i), std::sin(i * 0.7) + (i == 5003 ? 50 : 0)});
  const auto thinned = thin(points, 100);
  EXPECT_LE(thinned.size(), 202u);

  double most = 0;
  for (size_t i = 0; i < thinned.size(); ++i) {
    most = std::max(most, thinned[i].y);
    if (i > 0) {
      EXPECT_GT(thinned[i].x, thinned[i - 1].x);
    }
  }
  EXPECT_GT(most, 49);
  EXPECT_EQ(thin(points, 5000).size(), points.size());
}

TEST(Smooth, IsTheMeanAroundEachPoint) {
  std::vector<Point> line;
  for (int i = 0; i < 50; ++i) line.push_back({double(i), 2.0 * i + 1});
  // A straight line is its own centred mean: anything that lagged would show.
  for (const Point& p : smooth(line, 9)) EXPECT_NEAR(p.y, 2 * p.x + 1, 1e-9);  // rounding of sums
  line[7].y = std::nan("");
  EXPECT_EQ(smooth(line, 9).size(), 49u);
  EXPECT_TRUE(smooth({}, 9).empty());
}

TEST(Chart, ANotANumberBreaksTheLine) {
  Chart chart;
  chart.series = {{"s", "a", {{0, 1}, {1, std::nan("")}, {2, 1}, {3, 2}}, false}};
  const std::string svg = render_chart(chart, "id");
  const size_t at = svg.find(" d=\"") + 4;
  const std::string path = svg.substr(at, svg.find('"', at) - at);
  EXPECT_EQ(std::count(path.begin(), path.end(), 'M'), 2);
  EXPECT_EQ(path.find("nan"), std::string::npos);
}

TEST(Chart, NothingToDrawIsNoFigure) {
  Chart chart;
  EXPECT_EQ(render_chart(chart, "id"), "");
  chart.log_x = true;
  chart.series = {{"s", "a", {{0, 1}, {-1, 2}}, false}};
  EXPECT_EQ(render_chart(chart, "id"), "");
}

TEST(Chart, TextIsEscapedAndNamed) {
  Chart chart;
  chart.title = "<b>&";
  chart.series = {{"a<b", "a", {{0, 1}, {1, 2}}, true}};
  const std::string svg = render_chart(chart, "id");
  EXPECT_THAT(svg, HasSubstr("<title id=\"id-t\">&lt;b&gt;&amp;</title>"));
  EXPECT_THAT(svg, HasSubstr("a&lt;b"));
  EXPECT_THAT(svg, HasSubstr("role=\"img\" aria-labelledby=\"id-t id-d\""));
}

TEST(Escape, AllThatHtmlReads) {
  EXPECT_EQ(escape("<a href=\"x\" b='y'>&\n\t"),
            "&lt;a href=&quot;x&quot; b=&#39;y&#39;&gt;&amp;\n\t");
  EXPECT_EQ(escape(std::string_view("a\0b\x1b", 4)),
            "a\xef\xbf\xbd"
            "b\xef\xbf\xbd");
}

}  // namespace
}  // namespace terse
