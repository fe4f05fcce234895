#include <fmt/format.h>

#include <cmath>

#include "trainer/telemetry/format.h"
#include "trainer/telemetry/report/html.h"
#include "trainer/telemetry/report/sections.h"

namespace terse {
namespace {

std::string verified(const ExportRecord& r) {
  if (r.tensors_equal < 0) return "not verified";
  const bool all = r.tensors_equal == r.tensors;
  return fmt::format("<span class=\"{}\">{} of {} tensors equal, bit for bit</span>",
                     all ? "good" : "bad", r.tensors_equal, r.tensors);
}

std::string evaluations(const RunResults& results) {
  if (results.evaluations.empty()) return "";
  std::string rows;
  for (const EvalRecord& r : results.evaluations) {
    rows += fmt::format(
        "<tr><th scope=\"row\">{}</th><td class=\"n\">{}</td><td class=\"n\">{}</td>"
        "<td class=\"n\">{}</td><td class=\"n\">{}</td></tr>\n",
        escape(r.name), r.step, format_loss(r.loss),
        r.accuracy < 0 ? format_perplexity(r.perplexity) : format_accuracy(r.accuracy), r.tokens);
  }
  const bool classifier = results.evaluations.front().accuracy >= 0;
  return "<div class=\"scroll\"><table><caption>Evaluations on the final codes</caption><thead><tr>"
         "<th scope=\"col\">Data</th><th scope=\"col\" class=\"n\">After step</th>"
         "<th scope=\"col\" class=\"n\">Loss</th><th scope=\"col\" class=\"n\">" +
         std::string(classifier ? "Accuracy" : "Perplexity") +
         "</th><th scope=\"col\" class=\"n\">" + (classifier ? "Images" : "Tokens") +
         "</th></tr></thead><tbody>\n" + rows + "</tbody></table></div>\n";
}

std::string exports(const RunResults& results) {
  if (results.exports.empty()) return "";
  std::string rows;
  for (const ExportRecord& r : results.exports) {
    const auto bytes = static_cast<double>(r.bytes);
    const std::string part =
        r.fp16_bytes > 0 ? fmt::format("{:.1f} %", 100 * bytes / static_cast<double>(r.fp16_bytes))
                         : "-";
    rows += fmt::format(
        "<tr><th scope=\"row\">{}</th><td><code>{}</code></td><td class=\"n\">{}</td>"
        "<td class=\"n\">{}</td><td class=\"n\">{:.2f}</td><td>{}</td></tr>\n",
        escape(r.format), escape(r.path), format_bytes(bytes), part, r.bits_per_weight,
        verified(r));
  }
  return "<div class=\"scroll\"><table><caption>Exported files</caption><thead><tr>"
         "<th scope=\"col\">Format</th><th scope=\"col\">File</th>"
         "<th scope=\"col\" class=\"n\">Size</th><th scope=\"col\" class=\"n\">Of fp16</th>"
         "<th scope=\"col\" class=\"n\">Bits a weight</th>"
         "<th scope=\"col\">Against the run</th></tr></thead><tbody>\n" +
         rows + "</tbody></table></div>\n";
}

std::string engine_row(const EngineRecord& r) {
  std::string difference = "-";
  if (std::isfinite(r.perplexity) && std::isfinite(r.terse_perplexity)) {
    const double percent = 100 * (r.perplexity / r.terse_perplexity - 1);
    difference = fmt::format("<span class=\"{}\">{:+.3f} %</span>",
                             std::abs(percent) <= 1 ? "good" : "bad", percent);
  }
  return fmt::format(
      "<tr><th scope=\"row\">{}</th><td><code>{}</code></td><td class=\"n\">{}</td>"
      "<td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>\n",
      escape(r.engine), escape(r.file), format_perplexity(r.perplexity),
      format_perplexity(r.terse_perplexity), difference, r.tokens);
}

std::string engines(const RunResults& results) {
  if (results.engines.empty()) return "";
  std::string rows, samples;
  for (const EngineRecord& r : results.engines) {
    rows += engine_row(r);
    if (!r.generated.empty()) {
      samples += fmt::format("<blockquote>{}<footer>written by {}</footer></blockquote>\n",
                             escape(r.generated), escape(r.engine));
    }
  }
  return "<div class=\"scroll\"><table><caption>Engines that read the file</caption><thead><tr>"
         "<th scope=\"col\">Engine</th><th scope=\"col\">File</th>"
         "<th scope=\"col\" class=\"n\">Its perplexity</th>"
         "<th scope=\"col\" class=\"n\">By terse</th>"
         "<th scope=\"col\" class=\"n\">Difference</th>"
         "<th scope=\"col\" class=\"n\">Tokens</th></tr></thead><tbody>\n" +
         rows + "</tbody></table></div>\n" + samples;
}

}  // namespace

std::string results_section(const RunData& run) {
  const std::string body = evaluations(run.results) + exports(run.results) + engines(run.results);
  if (body.empty()) return "";
  return "<section><h2>Results</h2><div class=\"stack\">\n" + body + "</div></section>\n";
}

}  // namespace terse
