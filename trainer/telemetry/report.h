// The report of a run: one self-contained HTML page (inline CSS and SVG, no scripts, no network).
//
// Reads what the run's directory holds (run_files.h); whatever is missing leaves out its section.
// Torn or foreign lines are skipped. All text from files is escaped. Light and dark by the reader's
// setting. Cost: about a microsecond a step; charts are thinned to their pixels.
#pragma once
#include <string>

#include "trainer/telemetry/run_files.h"

namespace terse {

// Error(invalid_file) if the directory holds no metrics.jsonl, or results.json / layers.json are
// malformed.
std::string render_report(const RunFiles& run);

}  // namespace terse
