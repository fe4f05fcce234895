#include <fmt/format.h>

#include "base/error.h"
#include "launch/doctor.h"
#include "trainer/cli/verbs.h"

namespace terse {

int verb_doctor(const CommonArguments& common, const DoctorArguments&) {
  BindingOptions binding{.bind = parse_bind(common.bind)};
  if (common.threads > 0) binding.threads = static_cast<int>(common.threads);
  const DoctorReport report = examine(current_environment(), common.world, binding);
  fmt::print("{}\n", common.json ? render_json(report) : render_text(report));
  return report.world_error.empty() ? 0 : static_cast<int>(ExitCode::usage);
}

}  // namespace terse
