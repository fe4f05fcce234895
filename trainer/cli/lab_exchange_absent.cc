// Chosen by CMake where trainer/lab/exchange is not part of the build.
#include "base/error.h"
#include "trainer/cli/components.h"

namespace terse {

int lab_exchange_verb(const CommonArguments&, const LabArguments&) {
  fail(ExitCode::usage, "this program was built without `lab exchange`");
}

}  // namespace terse
