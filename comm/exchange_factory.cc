#include "base/error.h"
#include "comm/codec/onebit.h"
#include "comm/dense_exchange.h"
#include "comm/make_exchange.h"
#include "comm/two_stage_exchange.h"

namespace terse {

std::unique_ptr<Exchange> make_exchange(Group group, const ExchangeOptions& options,
                                        at::Device device) {
  if (options.codec == "fp32" || options.codec == "bf16")
    return make_dense_exchange(std::move(group), options, device);
  if (options.codec == "onebit") {
    const OneBitOptions onebit{.scale = options.scale == "l1" ? ScaleKind::l1 : ScaleKind::rms,
                               .block = options.block};
    return std::make_unique<TwoStageExchange>(std::move(group), make_onebit_codec(onebit), device);
  }
  fail(ExitCode::usage, "[exchange] codec = \"{}\" is not known; there are fp32, bf16 and onebit",
       options.codec);
}

std::unique_ptr<Exchange> make_dense_exchange(Group group, const ExchangeOptions& options,
                                              at::Device device) {
  const std::string& wire = options.compressed() ? options.dense : options.codec;
  if (wire != "fp32" && wire != "bf16")
    fail(ExitCode::usage, "[exchange] dense = \"{}\" is not known; there are fp32 and bf16", wire);
  const DenseOptions dense{.bf16 = wire == "bf16",
                           .backend_all_reduce = options.backend_all_reduce && wire == "fp32"};
  return std::make_unique<DenseExchange>(std::move(group), dense, device);
}

}  // namespace terse
