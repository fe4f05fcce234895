// The report's sections, in the order of the page. Each returns HTML, empty if the run has no data
// for it.
#pragma once
#include <string>

#include "trainer/telemetry/report/run_data.h"

namespace terse {

std::string title_section(const RunData& run);     // name and key figures
std::string results_section(const RunData& run);   // evaluations, exports, engines
std::string training_section(const RunData& run);  // loss against step, time and bytes; rate
std::string network_section(const RunData& run);   // bytes by phase, exposed time, speed
std::string layers_section(const RunData& run);
std::string record_section(const RunData& run);  // decisions, recipe, environment

}  // namespace terse
