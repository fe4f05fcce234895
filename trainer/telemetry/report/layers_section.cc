#include <fmt/format.h>

#include <algorithm>

#include "trainer/telemetry/format.h"
#include "trainer/telemetry/report/html.h"
#include "trainer/telemetry/report/sections.h"

namespace terse {
namespace {

// Bars over the codes in ascending order; the exact counts are in its description.
std::string histogram(const LayerRecord& layer) {
  if (layer.histogram.empty()) return "";
  int64_t most = 1;
  for (const CodeCount& bin : layer.histogram) most = std::max(most, bin.count);
  const double width = 112.0 / static_cast<double>(layer.histogram.size());
  std::string bars, words;
  for (size_t i = 0; i < layer.histogram.size(); ++i) {
    const CodeCount& bin = layer.histogram[i];
    const double height = 25.0 * static_cast<double>(bin.count) / static_cast<double>(most);
    bars += fmt::format("<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\"/>",
                        width * static_cast<double>(i), 26 - height, width * 0.86, height);
    words += fmt::format("{}{}: {}", i == 0 ? "" : ", ", bin.code, bin.count);
  }
  return fmt::format(
      "<svg class=\"hist\" viewBox=\"0 0 112 26\" role=\"img\"><title>codes {}</title>{}</svg>",
      words, bars);
}

std::string optional_number(double value) {
  return value < 0 ? "" : format_number(value);
}

std::string layer_row(const LayerRecord& layer) {
  return fmt::format(
      "<tr><th scope=\"row\"><code>{}</code></th><td class=\"n\">{} \u00d7 {}</td><td>{}</td>"
      "<td class=\"n\">{:.2f}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td>{}</td></tr>\n",
      escape(layer.name), layer.rows, layer.columns, escape(layer.representation), layer.bits,
      optional_number(layer.relative_error), optional_number(layer.residual_norm),
      histogram(layer));
}

}  // namespace

std::string layers_section(const RunData& run) {
  if (run.layers.empty()) return "";
  double bits = 0, weights = 0;
  std::string rows;
  for (const LayerRecord& layer : run.layers) {
    const double size = static_cast<double>(layer.rows) * static_cast<double>(layer.columns);
    weights += size;
    bits += size * layer.bits;
    rows += layer_row(layer);
  }
  return fmt::format(
      "<section><h2>Layers</h2><div class=\"scroll\"><table><caption>{} tensors, {} weights, "
      "{:.2f} "
      "bits a weight on average</caption><thead><tr><th scope=\"col\">Tensor</th>"
      "<th scope=\"col\" class=\"n\">Shape</th><th scope=\"col\">Representation</th>"
      "<th scope=\"col\" class=\"n\">Bits</th>"
      "<th scope=\"col\" class=\"n\">Error of weights</th>"
      "<th scope=\"col\" class=\"n\">Residual</th><th scope=\"col\">Codes</th></tr></thead>"
      "<tbody>\n{}</tbody></table></div></section>\n",
      run.layers.size(), format_count(weights), weights > 0 ? bits / weights : 0.0, rows);
}

}  // namespace terse
