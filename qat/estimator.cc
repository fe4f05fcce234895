#include "qat/estimator.h"

#include <cmath>

#include "base/error.h"

namespace terse {

Estimator parse_estimator(const std::string& text, int bits) {
  const size_t open = text.find('(');
  std::string name = text.substr(0, open);
  if (name.empty()) name = bits == 1 ? "clip" : "trust";
  Estimator result;
  if (name == "straight_through" || name == "bitnet") {
    result.kind = Estimator::Kind::straight_through;
  } else if (name == "clip") {
    result.kind = Estimator::Kind::clip;
    result.strength = bits == 1 ? 1.3f : 1.0f;
  } else if (name == "trust") {
    result.kind = Estimator::Kind::trust;
  } else if (name == "lsq") {
    result.kind = Estimator::Kind::lsq;
  } else {
    fail(ExitCode::usage,
         "estimator '{}' is unknown; possible: straight_through, clip, clip(K), trust, trust(S), "
         "lsq, bitnet",
         text);
  }
  if (open == std::string::npos) return result;
  size_t used = 0;
  try {
    result.strength = std::stof(text.substr(open + 1), &used);
  } catch (const std::exception&) {
    used = 0;
  }
  const bool has_strength =
      result.kind == Estimator::Kind::clip || result.kind == Estimator::Kind::trust;
  const bool closed = used > 0 && text.substr(open + 1 + used) == ")";
  if (!closed || !std::isfinite(result.strength) || result.strength <= 0 || !has_strength)
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
    case Estimator::Kind::lsq:
      return "lsq";
  }
  return "";
}

}  // namespace terse
