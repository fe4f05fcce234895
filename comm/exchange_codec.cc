#include "comm/exchange_codec.h"

#include <algorithm>

#include "comm/codec/bits.h"
#include "comm/codec/onebit.h"
#include "comm/codec/topk.h"

namespace terse {

std::unique_ptr<Codec> make_codec(const ExchangeOptions& options) {
  if (options.codec == "onebit")
    return make_onebit_codec({.scale = options.scale == "l1" ? ScaleKind::l1 : ScaleKind::rms,
                              .block = std::max<int64_t>(options.block, 0)});
  if (options.worker() == "topk")
    return make_topk_codec(
        {.density = options.density,
         .select = options.select == "sampled" ? SelectRule::sampled : SelectRule::exact,
         .bf16_values = options.values == "bf16"});
  using Bits = BitsOptions;
  Bits bits{.bits = static_cast<int>(options.bits),
            .scaling = options.scaling == "norm" ? Bits::Scaling::norm : Bits::Scaling::max_min,
            .rounding = options.rounding == "stochastic" ? Bits::Rounding::stochastic
                                                         : Bits::Rounding::nearest};
  if (options.block >= 0) bits.block = options.block;
  return make_bits_codec(bits);
}

bool one_stage(const ExchangeOptions& options, int64_t ranks) {
  if (options.worker() != "topk") return false;
  return options.sparse == "gather" || (options.sparse == "auto" && ranks <= 2);
}

}  // namespace terse
