#include <fmt/format.h>

#include "trainer/telemetry/report/html.h"
#include "trainer/telemetry/report/sections.h"

namespace terse {
namespace {

std::string decisions(const RunData& run) {
  if (run.decisions.empty()) return "";
  std::string rows;
  for (const DecisionRecord& d : run.decisions) {
    rows += fmt::format(
        "<tr><td class=\"n\">{}</td><th scope=\"row\">{}</th><td>{}</td><td>{}</td></tr>\n", d.step,
        escape(d.what), escape(d.value), escape(d.reason));
  }
  return "<h2>Decisions</h2><div class=\"scroll\"><table><caption>What was decided while the run "
         "went "
         "on</caption><thead><tr><th scope=\"col\" class=\"n\">From step</th>"
         "<th scope=\"col\">What</th><th scope=\"col\">Choice</th><th scope=\"col\">Why</th></tr>"
         "</thead><tbody>\n" +
         rows + "</tbody></table></div>\n";
}

std::string recipe(const RunData& run) {
  if (run.recipe.empty()) return "";
  return "<details><summary>Recipe, as resolved</summary><pre tabindex=\"0\">" +
         escape(run.recipe) + "</pre></details>\n";
}

std::string environment(const RunData& run) {
  if (run.environment.empty()) return "";
  std::string rows;
  for (const Row& row : run.environment) {
    rows += fmt::format("<tr><th scope=\"row\">{}</th><td><code>{}</code></td></tr>\n",
                        escape(row.key), escape(row.value));
  }
  return "<details><summary>Environment</summary><div class=\"scroll\"><table><tbody>\n" + rows +
         "</tbody></table></div></details>\n";
}

}  // namespace

std::string record_section(const RunData& run) {
  const std::string details = recipe(run) + environment(run);
  std::string out = decisions(run);
  if (!details.empty()) out += "<h2>To repeat it</h2>\n" + details;
  return out.empty() ? out : "<section>" + out + "</section>\n";
}

}  // namespace terse
