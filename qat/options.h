// The recipe's [qat] table.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "base/keys.h"

namespace terse {

struct QatOptions {
  // The engine format to serve in; it fixes the grid (qat/targets.h). "none": train on the grid
  // that the other keys name. "" : no quantization.
  std::string target;
  int64_t weight_bits = 0;  // 0: decided by target (16 = not quantized)
  int64_t act_bits = 0;     // 0: decided by target; 16: activations are not quantized
  std::string grid;         // "" = decided by target; a name of qat/grid.h
  // "" = decided by target, else that of the weights where it has the bits, else half_int; a name
  // of qat/input_format.h
  std::string act_grid;
  double act_global_scale = 0;  // of nvfp4 activations; 0 = kInputGlobal of qat/input_format.h
  std::string scale;            // rule of the weights' scales (qat/grid.h); "" = decided by target
  int64_t group = -1;     // columns a scale; 0 = a row; -1 = decided by target; lsq: the tensor
  int64_t hadamard = -1;  // rotation block; 0 = off; -1 = 128 unless the target's reader cannot
  // "" = trust, at 1 bit clip; straight_through | clip | trust | lsq; bitnet: BitNet b1.58
  std::string estimator;
  std::vector<std::string>
      targets;  // name patterns ('*' wildcards) of layers to quantize; empty: all
  std::vector<std::string> ignore;  // patterns of layers left alone, e.g. "lm_head"

  bool enabled() const { return !target.empty(); }
  // BitNet b1.58 (arXiv 2402.17764): ternary weights on one scale mean |w| for the whole tensor,
  // inputs of 8 bits on max |x| / 127 per token, straight-through gradients, no rotation.
  bool bitnet() const { return estimator == "bitnet"; }
  // Of an activation; 16 = not quantized.
  int64_t activation_bits() const;
  void bind(Keys& keys);
  // Problems that depend on several keys, each reported at a key with the possible values.
  void check(Keys& keys) const;
};

}  // namespace terse
