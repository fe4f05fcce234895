// Chosen by CMake where trainer/bench/train is not part of the build.
#include "base/error.h"
#include "trainer/cli/components.h"

namespace terse {

int bench_train_verb(const CommonArguments&, const BenchArguments&) {
  fail(ExitCode::usage, "this program was built without `bench train`");
}

}  // namespace terse
