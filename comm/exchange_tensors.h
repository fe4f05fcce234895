// Small checks that all exchanges share.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

namespace terse {

// "bucket 3", for the messages of a Group.
std::string bucket_tag(int64_t bucket);

// Where a checkpoint keeps how often a bucket was exchanged; absent (`terse lab` starts from
// residuals alone): never.
std::string steps_key(int64_t bucket);

// A contiguous fp32 tensor of `size` elements; anything else is a bug of the caller.
void check_bucket_tensor(const at::Tensor& tensor, int64_t size, const char* what);

// An Exchange::set_live mask for `size` elements.
void check_live_words(const at::Tensor& words, int64_t size, int64_t bucket);

// Elements that the mask calls dead become 0. fp32 on the CPU.
void zero_dead(const at::Tensor& words, const at::Tensor& values);

// Error(usage) for another device: this codec's exchange has no kernels there.
void check_cpu(at::Device device, const std::string& codec);

// The current stream of a GPU, as a cudaStream_t.
void* current_stream(at::Device device);

}  // namespace terse
