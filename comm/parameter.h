// A trainable tensor and what the exchange and the optimizer must know about it.
#pragma once
#include <ATen/core/Tensor.h>

#include <string>

namespace terse {

// `value`: fp32 leaf that requires grad; the handle stays valid, but the Reducer re-homes its
// storage into a flat bucket (set_data), so do not keep raw pointers across Reducer's construction.
struct Parameter {
  std::string name;  // unique; Hugging Face spelling where there is one
  at::Tensor value;
  bool decay = true;  // weight decay applies (matrices: yes; norms, embeddings: no)
};

}  // namespace terse
