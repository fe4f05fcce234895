// The table that a run prints at its start, and the summary at its end.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace terse {

struct Row {
  std::string key;
  std::string value;
};

// A title and one line a row, values aligned, at most 110 columns:
//   terse train                                 examples/quickstart.toml
//     model        6 layers, width 256, 6.8M parameters
std::string render_table(std::string_view title, std::span<const Row> rows, bool colour);

// What `terse train` ends with; `--json` prints it instead.
struct RunSummary {
  std::string run;
  int64_t steps = 0;
  double loss = 0;  // of the closing evaluation
  double perplexity = 0;
  double accuracy = -1;          // as EvalRecord's
  double tokens_per_second = 0;  // mean over the steps of this process
  double seconds = 0;            // training time of all processes
  int64_t wire_bytes = 0;        // this rank, all steps
  int64_t dense_bytes = 0;
  double exposed_seconds = 0;
  int64_t skipped_steps = 0;
};
std::string render_summary(const RunSummary& summary, bool colour);
// {"run", "steps", "loss", "perplexity", "tokens_per_second", "wire_bytes", "dense_bytes",
//  "exposed_seconds"}, and "accuracy" of a classifier
std::string summary_json(const RunSummary& summary);

}  // namespace terse
