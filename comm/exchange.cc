#include "comm/exchange.h"

#include "base/error.h"

namespace terse {

void Exchange::set_parameters(int64_t bucket, std::span<const double> parameters) {
  if (!parameters.empty())
    fail(ExitCode::usage,
         "bucket {}: {} has no parameter that could differ by segment; choose bits, topk or lowrank",
         bucket, name());
}

void Exchange::set_density(double density) {
  fail(ExitCode::usage, "{} drops no elements, so a density of {} means nothing to it; choose topk",
       name(), density);
}

}  // namespace terse
