#include "comm/exchange_options.h"

#include <bit>

namespace terse {

void ExchangeOptions::bind(Keys& keys) {
  keys.choice("codec", codec, {"fp32", "bf16", "onebit"}, "how averages travel between ranks");
  keys.choice("dense", dense, {"fp32", "bf16"},
              "wire type of the phases that a compressed optimizer averages densely");
  keys.choice("scale", scale, {"l1", "rms"},
              "onebit: one scale is the mean of |x| (l1) or the root of the mean square (rms)");
  keys.integer("block", block, 0, int64_t{1} << 30,
               "onebit: elements a scale, a power of two from 64 on; 0 = a parameter");
  keys.choice("residual", residual, {"fp32"}, "type of the error feedback");
  keys.flag("backend_all_reduce", backend_all_reduce,
            "fp32: the backend's own all-reduce, whose rounding depends on backend and ranks");
  keys.number("timeout_s", timeout_s, 0.1, 86400, "deadline of every collective, seconds");
}

void ExchangeOptions::check(Keys& keys) const {
  if (block != 0 && (block < 64 || !std::has_single_bit(static_cast<uint64_t>(block))))
    keys.problem("block", "must be 0 or a power of two from 64 on, e.g. 4096");
  if (block != 0 && codec != "onebit")
    keys.problem("block", "has no effect with codec = \"" + codec + "\"; it belongs to onebit");
  if (backend_all_reduce && codec != "fp32")
    keys.problem("backend_all_reduce", "works with codec = \"fp32\" only");
}

}  // namespace terse
