#include "trainer/telemetry/report.h"

#include <fmt/format.h>

#include "trainer/telemetry/report/html.h"
#include "trainer/telemetry/report/run_data.h"
#include "trainer/telemetry/report/sections.h"
#include "trainer/telemetry/report/style.h"

namespace terse {

std::string render_report(const RunFiles& files) {
  const RunData run = read_run(files);
  std::string body = title_section(run);
  body += results_section(run);
  body += training_section(run);
  body += network_section(run);
  body += layers_section(run);
  body += record_section(run);
  return fmt::format(
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
      "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">"
      "<title>{} \u00b7 terse</title><style>{}</style></head>\n<body><main>\n{}"
      "<p class=\"foot\">Written by <code>terse report</code>. Bytes and tensors are counted, not "
      "estimated; times are of this machine.</p>\n</main></body></html>\n",
      escape(run.name), kReportStyle, body);
}

}  // namespace terse
