#include "base/error.h"
#include "trainer/cli/components.h"
#include "trainer/cli/verbs.h"

namespace terse {

int verb_lab(const CommonArguments& common, const LabArguments& arguments) {
  if (arguments.what == "exchange") return lab_exchange_verb(common, arguments);
  if (arguments.what == "encode") return lab_encode_verb(common, arguments);
  if (arguments.what == "mask") return lab_mask_verb(common, arguments);
  TERSE_CHECK(arguments.what == "optimize", "lab {}", arguments.what);
  return lab_optimize_verb(common, arguments);
}

int verb_bench(const CommonArguments& common, const BenchArguments& arguments) {
  if (arguments.what == "comm") return bench_comm_verb(common, arguments);
  if (arguments.what == "exchange") return bench_exchange_verb(common, arguments);
  if (arguments.what == "export") return bench_export_verb(common, arguments);
  if (arguments.what == "quant") return bench_quant_verb(common, arguments);
  if (arguments.what == "sparse") return bench_sparse_verb(common, arguments);
  TERSE_CHECK(arguments.what == "train", "bench {}", arguments.what);
  return bench_train_verb(common, arguments);
}

}  // namespace terse
