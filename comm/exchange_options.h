// The recipe's [exchange] table. Free of torch.
#pragma once
#include <cstdint>
#include <string>

#include "base/keys.h"

namespace terse {

struct ExchangeOptions {
  std::string codec = "fp32";     // fp32 | bf16 | onebit
  std::string dense = "fp32";     // wire type of dense phases under a compressed codec: fp32 | bf16
  std::string scale = "rms";      // onebit: l1 | rms (comm/codec/onebit.h compares them)
  int64_t block = 0;              // onebit: elements a scale; 0 = a segment
  std::string residual = "fp32";  // type of the error feedback
  bool backend_all_reduce = false;
  double timeout_s = 60;  // deadline of every collective; the Group's, kept here as a key

  bool compressed() const { return codec != "fp32" && codec != "bf16"; }
  void bind(Keys& keys);
  void check(Keys& keys) const;
};

}  // namespace terse
