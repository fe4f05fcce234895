// Small checks that all exchanges share.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

namespace terse {

// "bucket 3", for the messages of a Group.
std::string bucket_tag(int64_t bucket);

// A contiguous fp32 tensor of `size` elements; anything else is a bug of the caller.
void check_bucket_tensor(const at::Tensor& tensor, int64_t size, const char* what);

}  // namespace terse
