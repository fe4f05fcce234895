// Activation checkpointing (Chen et al. 2016, arXiv 1604.06174): a segment's forward runs without
// keeping activations; backward runs it again with them.
#pragma once
#include <ATen/core/Tensor.h>

#include <functional>
#include <optional>

namespace terse {

// What flows between decoder layers: the residual stream (fp32) and the last block's output, which
// the next norm adds to it (compute type; none before the first layer).
struct Stream {
  at::Tensor x;
  std::optional<at::Tensor> delta;
};
using Segment = std::function<Stream(const Stream&)>;

// segment(in), whose output must have a delta. The segment must be a pure function that lives until
// backward. Gradients of leaves inside it are accumulated by a nested backward in the usual order,
// so hooks on them fire as without recompute, and all gradients have the same bits.
Stream recompute(const Segment& segment, const Stream& in);

}  // namespace terse
