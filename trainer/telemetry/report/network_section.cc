#include <fmt/format.h>

#include <functional>

#include "trainer/telemetry/format.h"
#include "trainer/telemetry/report/chart.h"
#include "trainer/telemetry/report/html.h"
#include "trainer/telemetry/report/sections.h"

namespace terse {
namespace {

Series by_step(const RunData& run, std::string label, std::string style,
               const std::function<double(const StepRecord&)>& y) {
  Series out{std::move(label), std::move(style), {}, false};
  for (const StepRecord& record : run.steps) {
    out.points.push_back({static_cast<double>(record.step), y(record)});
  }
  return out;
}

Chart step_chart(std::string title, std::string subtitle, Unit unit) {
  Chart chart;
  chart.title = std::move(title);
  chart.subtitle = std::move(subtitle);
  chart.x_label = "step";
  chart.y_unit = unit;
  chart.from_zero = true;
  return chart;
}

Chart wire_chart(const RunData& run) {
  Chart chart = step_chart("Bytes in each step", "Sent by a rank; logarithmic", Unit::bytes);
  chart.from_zero = false;
  chart.log_y = true;
  chart.series = {by_step(run, "fp32 exchange", "b",
                          [](const StepRecord& r) { return static_cast<double>(r.dense_bytes); }),
                  by_step(run, "sent", "a",
                          [](const StepRecord& r) { return static_cast<double>(r.wire_bytes); })};
  return chart;
}

void with_mean(Chart& chart, Series each) {
  const double window = static_cast<double>(each.points.size()) / 60;
  Series mean{"smoothed", "a", smooth(each.points, window), false};
  chart.series = {std::move(each), std::move(mean)};
}

Chart speed_chart(const RunData& run) {
  Chart chart = step_chart("Speed", "Tokens a second, all ranks", Unit::count);
  with_mean(chart, by_step(run, "each step", "faint",
                           [](const StepRecord& r) { return r.tokens_per_second; }));
  return chart;
}

Chart exposed_chart(const RunData& run) {
  Chart chart =
      step_chart("Exposed communication", "Waiting after backward, each step", Unit::seconds);
  with_mean(chart, by_step(run, "each step", "faint",
                           [](const StepRecord& r) { return r.exposed_seconds; }));
  return chart;
}

Chart residual_chart(const RunData& run) {
  Chart chart = step_chart("Error feedback", "Norm of rank 0's residual", Unit::plain);
  chart.series = {by_step(run, "", "c", [](const StepRecord& r) { return r.residual_norm; })};
  return chart;
}

std::string traffic_row(std::string_view name, int64_t steps, double wire, double dense,
                        double most) {
  const double scale = most > 0 ? 100 / most : 0;
  return fmt::format(
      "<tr><th scope=\"row\">{}</th><td class=\"n\">{}</td><td class=\"n\">{}</td>"
      "<td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>"
      "<td><span class=\"bar\" style=\"width:{:.2f}%\"><i style=\"width:{:.2f}%\"></i></span></td>"
      "</tr>\n",
      escape(name), steps, format_bytes(wire), format_bytes(dense), format_bytes(dense - wire),
      format_factor(wire > 0 ? dense / wire : 1), dense * scale,
      dense > 0 ? 100 * wire / dense : 0.0);
}

std::string traffic_table(const RunData& run) {
  const Cumulative total = run.total();
  std::string rows;
  for (const PhaseTraffic& t : run.traffic) {
    rows += traffic_row(phase_title(t.phase), t.steps, static_cast<double>(t.wire_bytes),
                        static_cast<double>(t.dense_bytes), total.dense_bytes);
  }
  if (run.traffic.size() > 1) {
    rows += traffic_row("all", static_cast<int64_t>(run.steps.size()), total.wire_bytes,
                        total.dense_bytes, total.dense_bytes);
  }
  return "<div class=\"scroll\"><table><caption>Bytes sent by a rank, by phase; the bar is what "
         "fp32 "
         "would have sent, its filled part what was sent</caption><thead><tr>"
         "<th scope=\"col\">Phase</th><th scope=\"col\" class=\"n\">Steps</th>"
         "<th scope=\"col\" class=\"n\">Sent</th><th scope=\"col\" class=\"n\">fp32 exchange</th>"
         "<th scope=\"col\" class=\"n\">Saved</th><th scope=\"col\" class=\"n\">Factor</th>"
         "<th scope=\"col\">Share</th></tr></thead><tbody>\n" +
         rows + "</tbody></table></div>\n";
}

bool any_residual(const RunData& run) {
  for (const StepRecord& record : run.steps) {
    if (record.residual_norm > 0) return true;
  }
  return false;
}

}  // namespace

std::string network_section(const RunData& run) {
  if (run.steps.empty()) return "";
  const bool sent = run.total().wire_bytes > 0;
  std::string charts;
  if (sent) charts += render_chart(wire_chart(run), "wire");
  if (sent) charts += render_chart(exposed_chart(run), "exposed");
  charts += render_chart(speed_chart(run), "speed");
  if (any_residual(run)) charts += render_chart(residual_chart(run), "residual");
  return fmt::format(
      "<section><h2>{}</h2><div class=\"stack\">{}<div "
      "class=\"charts\">\n{}</div></div></section>\n",
      sent ? "Network and speed" : "Speed", sent ? traffic_table(run) : "", charts);
}

}  // namespace terse
