#include "qat/estimator.h"

#include <cmath>

#include "base/error.h"

namespace terse {

Estimator parse_estimator(const std::string& text, int bits) {
  const size_t open = text.find('(');
  std::string name = text.substr(0, open);
  if (name.empty()) name = bits == 1 ? "clip" : "trust";
  Estimator result;
  if (name == "straight_through") {
    result.kind = Estimator::Kind::straight_through;
  } else if (name == "clip") {
    result.kind = Estimator::Kind::clip;
    result.strength = bits == 1 ? 1.3f : 1.0f;
  } else if (name == "trust") {
    result.kind = Estimator::Kind::trust;
  } else {
    fail(ExitCode::usage,
         "estimator '{}' is unknown; possible: straight_through, clip, clip(K), trust, trust(S)",
         text);
  }
  if (open == std::string::npos) return result;
  size_t used = 0;
  try {
    result.strength = std::stof(text.substr(open + 1), &used);
  } catch (const std::exception&) {
    used = 0;
  }
  const bool closed = used > 0 && text.substr(open + 1 + used) == ")";
  if (!closed || !std::isfinite(result.strength) || result.strength <= 0 || !result.masks())
    fail(ExitCode::usage, "estimator '{}': write clip(K) or trust(S) with a number above 0", text);
  return result;
}

std::string to_string(const Estimator& estimator) {
  switch (estimator.kind) {
    case Estimator::Kind::straight_through:
      return "straight_through";
    case Estimator::Kind::clip:
      return fmt::format("clip({})", estimator.strength);
    case Estimator::Kind::trust:
      return fmt::format("trust({})", estimator.strength);
  }
  return "";
}

}  // namespace terse
