// Chosen by CMake where trainer/lab/encode is not part of the build.
#include "base/error.h"
#include "trainer/cli/components.h"

namespace terse {

int lab_encode_verb(const CommonArguments&, const LabArguments&) {
  fail(ExitCode::usage, "this program was built without `lab encode`");
}

}  // namespace terse
