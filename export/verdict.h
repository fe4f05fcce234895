// Whether a representation can be stored in a format without changing a value.
#pragma once
#include <string>

namespace terse {

enum class Verdict {
  exact,        // codes and scales as they are
  exact_after,  // the same values by other codes: `reason` names the change
  impossible,   // `reason` says why, and what to train with instead
};

const char* verdict_name(Verdict verdict);  // "exact", "exact-after", "impossible"

struct Fit {
  Verdict verdict = Verdict::exact;
  std::string reason;
  // exact_after: stored code = code * multiply + add, stored scale = scale / multiply.
  int multiply = 1;
  int add = 0;
};

}  // namespace terse
