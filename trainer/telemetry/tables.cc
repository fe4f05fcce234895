#include "trainer/telemetry/tables.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "trainer/telemetry/format.h"

namespace terse {
namespace {

constexpr int kColumns = 110;

std::string bold(std::string_view text, bool colour) {
  return colour ? fmt::format("\x1b[1m{}\x1b[0m", text) : std::string(text);
}

std::string wire_row(const RunSummary& s) {
  if (s.wire_bytes == 0) return "0 B (one rank)";
  const auto wire = static_cast<double>(s.wire_bytes), dense = static_cast<double>(s.dense_bytes);
  return fmt::format("{} a rank; fp32 would have sent {} ({})", format_bytes(wire),
                     format_bytes(dense), format_factor(dense / wire));
}

}  // namespace

std::string render_table(std::string_view title, std::span<const Row> rows, bool colour) {
  size_t width = 0;
  for (const Row& row : rows) width = std::max(width, row.key.size());
  std::string out = bold(title, colour) + "\n";
  for (const Row& row : rows) {
    const int room = kColumns - static_cast<int>(width) - 4;
    out += fmt::format("  {:<{}}  {}\n", row.key, width, shorten(row.value, room));
  }
  return out;
}

std::string render_summary(const RunSummary& s, bool colour) {
  std::vector<Row> rows = {
      {"steps", fmt::format("{}, {} skipped", s.steps, s.skipped_steps)},
      {"loss", format_loss(s.loss)},
      s.accuracy < 0 ? Row{"perplexity", format_perplexity(s.perplexity)}
                     : Row{"accuracy", format_accuracy(s.accuracy)},
      {"speed", fmt::format("{} {}/s, {} of training", format_count(s.tokens_per_second),
                            s.accuracy < 0 ? "tokens" : "images", format_seconds(s.seconds))},
      {"sent", wire_row(s)},
      {"exposed", fmt::format("{} waiting for the network", format_seconds(s.exposed_seconds))},
  };
  if (s.skipped_steps == 0) rows[0].value = fmt::format("{}", s.steps);
  rows.push_back({"run", s.run});
  return render_table("done", rows, colour);
}

}  // namespace terse
