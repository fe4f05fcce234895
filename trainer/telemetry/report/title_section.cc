#include <fmt/format.h>

#include "trainer/telemetry/format.h"
#include "trainer/telemetry/report/html.h"
#include "trainer/telemetry/report/sections.h"

namespace terse {
namespace {

std::string tile(std::string_view name, std::string_view value, std::string_view more) {
  return fmt::format(
      "<div><dt>{}</dt><dd class=\"value\">{}</dd><dd class=\"more\">{}</dd></div>\n", escape(name),
      escape(value), escape(more));
}

std::string subtitle(const RunData& run) {
  std::string out;
  const auto add = [&](const std::string& part) { out += (out.empty() ? "" : " \u00b7 ") + part; };
  if (run.results.parameters > 0) {
    add(format_count(static_cast<double>(run.results.parameters)) + " parameters");
  }
  if (run.results.ranks > 0) {
    add(fmt::format("{} {}", run.results.ranks, run.results.ranks == 1 ? "rank" : "ranks"));
  }
  if (!run.steps.empty()) add(fmt::format("{} steps", run.steps.back().step));
  if (run.skipped > 0) add(fmt::format("{} skipped", run.skipped));
  if (run.total().seconds > 0) add(format_seconds(run.total().seconds) + " of training");
  return out;
}

std::string sent_tile(const RunData& run) {
  const Cumulative total = run.total();
  if (total.wire_bytes <= 0) return "";
  return tile("Sent by a rank", format_bytes(total.wire_bytes),
              fmt::format("fp32 exchange: {} ({})", format_bytes(total.dense_bytes),
                          format_factor(total.dense_bytes / total.wire_bytes)));
}

std::string file_tile(const RunData& run) {
  if (run.results.exports.empty()) return "";
  const ExportRecord& file = run.results.exports.front();
  std::string more = file.format;
  if (file.fp16_bytes > 0) {
    more += fmt::format(", {:.0f} % of fp16", 100.0 * static_cast<double>(file.bytes) /
                                                  static_cast<double>(file.fp16_bytes));
  }
  return tile("Exported file", format_bytes(static_cast<double>(file.bytes)), more);
}

}  // namespace

std::string title_section(const RunData& run) {
  std::string tiles;
  if (const EvalRecord* closing = run.closing()) {
    const bool classifier = closing->accuracy >= 0;
    const std::string count = format_count(static_cast<double>(closing->tokens));
    tiles += tile("Validation loss", format_loss(closing->loss),
                  classifier ? fmt::format("nats an image, {} images", count)
                             : fmt::format("nats a token, {} tokens", count));
    tiles +=
        classifier
            ? tile("Accuracy", format_accuracy(closing->accuracy), "of the stored weights")
            : tile("Perplexity", format_perplexity(closing->perplexity), "of the stored weights");
  } else if (!run.steps.empty()) {
    tiles += tile("Training loss", format_loss(run.steps.back().loss), "last step");
  }
  tiles += sent_tile(run);
  tiles += file_tile(run);
  if (run.tokens_per_second > 0) {
    const double part = 100 * run.exposed_seconds / run.total().seconds;
    tiles += tile("Speed", format_count(run.tokens_per_second) + " tok/s",
                  fmt::format("{:.1f} % of the time waiting for the network", part));
  }
  return fmt::format(
      "<header><p class=\"mark\">terse \u00b7 report of a run</p><h1>{}</h1><p>{}</p>\n"
      "<dl class=\"tiles\">{}</dl></header>\n",
      escape(run.name), subtitle(run), tiles);
}

}  // namespace terse
