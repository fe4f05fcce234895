// The recipe's [qat] table.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "base/keys.h"

namespace terse {

struct QatOptions {
  // The engine format to serve in; it fixes the grid. "none": train on the grid that the other keys
  // name. "" : no quantization.
  std::string target;
  int64_t weight_bits = 0;  // 0: decided by target (16 = not quantized)
  int64_t act_bits = 16;    // 16: activations are not quantized
  std::string grid;         // "" = decided by target; int_signed | half_int | int_symmetric
  int64_t group = -1;       // columns a scale; 0 = a row; -1 = decided by target
  int64_t hadamard = -1;    // rotation block; 0 = off; -1 = 128 unless the target's reader cannot
  std::string estimator;    // "" = trust, at 1 bit clip; straight_through | clip | trust
  std::vector<std::string>
      targets;  // name patterns ('*' wildcards) of layers to quantize; empty: all
  std::vector<std::string> ignore;  // patterns of layers left alone, e.g. "lm_head"

  bool enabled() const { return !target.empty(); }
  void bind(Keys& keys);
  // Problems that depend on several keys, each reported at a key with the possible values.
  void check(Keys& keys) const;
};

}  // namespace terse
