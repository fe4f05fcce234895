// Small bridges between plain data and tensors.
#pragma once
#include <ATen/ATen.h>

#include "trainer/data/batcher.h"

namespace terse {

// int64 [rows, columns], a copy.
inline at::Tensor token_tensor(const Batch& batch) {
  return at::from_blob(const_cast<int64_t*>(batch.ids.data()), {batch.rows, batch.columns},
                       at::kLong)
      .clone();
}

}  // namespace terse
