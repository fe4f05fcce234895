#include <algorithm>
#include <functional>
#include <limits>

#include "trainer/telemetry/report/chart.h"
#include "trainer/telemetry/report/sections.h"

namespace terse {
namespace {

constexpr double kSmoothedParts = 60;  // the smoothed line averages about a 60th of the run
constexpr double kLinearFactor = 12;

using ByIndex = std::function<double(size_t)>;

Series series(const RunData& run, std::string label, std::string style, const ByIndex& x,
              const ByIndex& y) {
  Series out{std::move(label), std::move(style), {}, false};
  for (size_t i = 0; i < run.steps.size(); ++i) out.points.push_back({x(i), y(i)});
  return out;
}

double window(const RunData& run) {
  return static_cast<double>(run.steps.size()) / kSmoothedParts;
}

// Evaluations against what `x` gives for their step.
Series evaluations(const RunData& run, const ByIndex& x) {
  Series out{"validation", "b", {}, true};
  for (const EvalRecord& eval : run.evaluations) {
    const auto at =
        std::lower_bound(run.steps.begin(), run.steps.end(), eval.step,
                         [](const StepRecord& record, int64_t step) { return record.step < step; });
    if (at == run.steps.end()) continue;
    out.points.push_back({x(static_cast<size_t>(at - run.steps.begin())), eval.loss});
  }
  return out;
}

// A run's first losses are far above all others; the axis ends where the first fiftieth has passed.
double highest_shown(const std::vector<Point>& smoothed) {
  double most = -std::numeric_limits<double>::infinity();
  for (size_t i = smoothed.size() / 50; i < smoothed.size(); ++i) {
    most = std::max(most, smoothed[i].y);
  }
  return most;
}

Chart loss_chart(const RunData& run, const ByIndex& x) {
  Chart chart;
  chart.subtitle = "Loss, nats a token";
  Series raw = series(run, "each step", "faint", x, [&](size_t i) { return run.steps[i].loss; });
  Series mean{"training, smoothed", "a", smooth(raw.points, window(run)), false};
  chart.y_most = highest_shown(mean.points);
  chart.series = {std::move(raw), std::move(mean)};
  Series evals = evaluations(run, x);
  if (!evals.points.empty()) chart.series.push_back(std::move(evals));
  return chart;
}

Chart loss_by_step(const RunData& run) {
  Chart chart = loss_chart(run, [&](size_t i) { return static_cast<double>(run.steps[i].step); });
  chart.title = "Loss against step";
  chart.x_label = "step";
  return chart;
}

Chart loss_by_time(const RunData& run) {
  Chart chart = loss_chart(run, [&](size_t i) { return run.sums[i].seconds; });
  chart.title = "Loss against time";
  chart.x_label = "training time";
  chart.x_unit = Unit::seconds;
  return chart;
}

// The same losses twice: at the bytes that were sent, and at those that fp32 would have needed.
Chart loss_by_bytes(const RunData& run) {
  const auto loss = [&](size_t i) { return run.steps[i].loss; };
  Series sent = series(
      run, "sent", "a", [&](size_t i) { return run.sums[i].wire_bytes; }, loss);
  Series dense = series(
      run, "as fp32 exchange", "b", [&](size_t i) { return run.sums[i].dense_bytes; }, loss);
  sent.points = smooth(sent.points, window(run));
  dense.points = smooth(dense.points, window(run));
  Chart chart;
  chart.title = "Loss against bytes sent";
  chart.subtitle = "Loss, nats a token, smoothed";
  chart.x_label = "bytes sent by a rank";
  chart.x_unit = Unit::bytes;
  // Side by side on one scale while both can be seen; beyond that, by factors.
  const Cumulative total = run.total();
  chart.log_x = total.dense_bytes > kLinearFactor * total.wire_bytes;
  chart.y_most = highest_shown(sent.points);
  chart.series = {std::move(dense), std::move(sent)};
  return chart;
}

Chart rate_chart(const RunData& run) {
  Chart chart;
  chart.title = "Learning rate and phases";
  chart.subtitle = "Learning rate; the exchange's phase behind it";
  chart.x_label = "step";
  chart.from_zero = true;
  chart.series = {series(
      run, "", "a", [&](size_t i) { return static_cast<double>(run.steps[i].step); },
      [&](size_t i) { return run.steps[i].learning_rate; })};
  for (const PhaseSpan& span : run.spans) {
    chart.bands.push_back({static_cast<double>(span.first), static_cast<double>(span.last) + 1,
                           phase_title(span.phase)});
  }
  return chart;
}

// A share that grows with every step is one band.
std::string mask_band(const StepRecord& step) {
  if (step.pattern.empty()) return step.stage;
  return step.pattern.starts_with("unstructured") ? "unstructured" : step.pattern;
}

// Empty (no series) where nothing was masked.
Chart mask_chart(const RunData& run) {
  Chart chart;
  chart.title = "Masks";
  chart.subtitle = "What pruned weights are multiplied with; the pattern behind it";
  chart.x_label = "step";
  chart.from_zero = true;
  const auto masked = [](const StepRecord& step) { return !step.stage.empty(); };
  if (std::ranges::none_of(run.steps, masked)) return chart;
  const auto step = [&](size_t i) { return static_cast<double>(run.steps[i].step); };
  Series changed = series(run, "share of the mask that changed", "b", step,
                          [&](size_t i) { return run.steps[i].mask_changed; });
  changed.points = smooth(changed.points, window(run));
  chart.series = {series(run, "beta", "a", step, [&](size_t i) { return run.steps[i].beta; }),
                  std::move(changed)};
  for (const StepRecord& at : run.steps) {
    const auto here = static_cast<double>(at.step);
    if (chart.bands.empty() || chart.bands.back().label != mask_band(at))
      chart.bands.push_back({here, here, mask_band(at)});
    chart.bands.back().end = here + 1;
  }
  return chart;
}

}  // namespace

std::string training_section(const RunData& run) {
  if (run.steps.empty()) return "";
  std::string charts = render_chart(loss_by_step(run), "loss-step");
  charts += render_chart(loss_by_time(run), "loss-time");
  if (run.total().wire_bytes > 0) charts += render_chart(loss_by_bytes(run), "loss-bytes");
  charts += render_chart(rate_chart(run), "rate");
  charts += render_chart(mask_chart(run), "masks");
  return "<section><h2>Training</h2><div class=\"charts\">\n" + charts + "</div></section>\n";
}

}  // namespace terse
