#include <fmt/format.h>
#include <unistd.h>

#include "trainer/cli/verbs.h"
#include "trainer/data/prepare.h"

namespace terse {
namespace {

// One line that is rewritten, on a terminal only.
void show_progress(const std::string& what, double fraction) {
  fmt::print(stderr, "\r{}: {:3.0f} % ", what, 100 * fraction);
  if (fraction >= 1) fmt::print(stderr, "\n");
}

}  // namespace

int verb_prepare(const CommonArguments& common, const PrepareArguments& arguments) {
  // One writer is enough when a launcher starts several.
  if (resolve_world(current_environment(), common.world).rank != 0) return 0;
  PrepareOptions options;
  options.texts = arguments.texts;
  options.out = arguments.out;
  options.vocab = arguments.vocab;
  options.valid = arguments.valid;
  options.tokenizer = arguments.tokenizer;
  const DataSummary summary =
      prepare_data(options, ::isatty(STDERR_FILENO) != 0 ? show_progress : PrepareProgress{});
  fmt::print("{}\n", common.json ? summary.to_json()
                                 : fmt::format("{}: {}", arguments.out, summary.to_text()));
  return 0;
}

}  // namespace terse
