#include "comm/residual.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "comm/sums.h"

namespace terse {

void Residual::attach(const BucketPlan& plan, std::vector<Range> ranges, at::Device device) {
  TERSE_CHECK(ranges.size() == plan.buckets.size(), "{} ranges", ranges.size());
  slots_.clear();
  parts_.clear();
  const auto options = at::TensorOptions().dtype(at::kFloat).device(device);
  for (size_t b = 0; b < ranges.size(); ++b) {
    const Range range = ranges[b];
    slots_.push_back(
        {range, at::zeros({range.size()}, options), at::zeros({range.size()}, options), false});
    for (const Segment& segment : plan.buckets[b].segments) {
      const int64_t begin = std::max(segment.offset, range.begin);
      const int64_t end = std::min(segment.offset + segment.size, range.end);
      if (begin < end)
        parts_.push_back({b,
                          segment.name,
                          segment.size,
                          {begin - segment.offset, end - segment.offset},
                          begin - range.begin});
    }
  }
}

const at::Tensor& Residual::current(int64_t bucket) const {
  return slots_.at(static_cast<size_t>(bucket)).current;
}

at::Tensor& Residual::shadow(int64_t bucket) {
  Slot& slot = slots_.at(static_cast<size_t>(bucket));
  slot.written = true;
  return slot.shadow;
}

void Residual::commit() {
  for (Slot& slot : slots_)
    if (std::exchange(slot.written, false)) std::swap(slot.current, slot.shadow);
}

void Residual::rollback() {
  for (Slot& slot : slots_) slot.written = false;
}

void Residual::zero() {
  rollback();
  for (Slot& slot : slots_) slot.current.zero_();
}

double Residual::squared_norm() const {
  double sum = 0;
  for (const Slot& slot : slots_) sum += sum_of_squares(slot.current);
  return sum;
}

void Residual::save(StateWriter& state) const {
  for (const Part& part : parts_) {
    auto host = std::make_shared<at::Tensor>(slots_[part.slot].current.cpu());
    const float* data = host->const_data_ptr<float>() + part.offset;
    const int64_t n = part.inside.size();
    state.tensor(Scope::own, prefix_ + "/" + part.name, {DType::f32, {n}, bytes_of(data, n)});
    state.keep(host);
  }
}

void Residual::load(const StateReader& state, int64_t ranks) {
  rollback();
  for (const Part& part : parts_) {
    const int64_t n = part.inside.size();
    at::Tensor host = at::empty({n}, at::kFloat);
    float* out = host.mutable_data_ptr<float>();
    if (state.saved_ranks() == ranks) {
      const TensorView saved =
          state.require(Scope::own, prefix_ + "/" + part.name, DType::f32, {n});
      std::memcpy(out, saved.data.data(), saved.data.size());
    } else if (kind_ == Kind::worker) {
      load_mean(state, part, out);
    } else {
      load_slice(state, part, out);
    }
    slots_[part.slot].current.narrow(0, part.offset, n).copy_(host);
  }
}

void Residual::load_mean(const StateReader& state, const Part& part, float* out) const {
  const int64_t n = part.size, ranks = state.saved_ranks();
  std::vector<double> sum(static_cast<size_t>(n), 0.0);
  for (int64_t rank = 0; rank < ranks; ++rank) {
    const auto saved =
        state.require(Scope::own, prefix_ + "/" + part.name, DType::f32, {n}, rank).as<float>();
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += static_cast<double>(saved[i]);
  }
  for (size_t i = 0; i < sum.size(); ++i)
    out[i] = static_cast<float>(sum[i] / static_cast<double>(ranks));
}

void Residual::load_slice(const StateReader& state, const Part& part, float* out) const {
  // Ranks own ascending chunks, so their parts of a parameter follow one another.
  const std::string name = prefix_ + "/" + part.name;
  int64_t at = 0;
  for (int64_t rank = 0; rank < state.saved_ranks(); ++rank) {
    const auto saved = state.tensor(Scope::own, name, rank);
    if (!saved) continue;  // that rank's chunk had none of it
    const auto values = saved->as<float>();
    const int64_t begin = std::max(at, part.inside.begin);
    const int64_t end = std::min(at + static_cast<int64_t>(values.size()), part.inside.end);
    if (begin < end)
      std::copy_n(values.begin() + (begin - at), end - begin, out + (begin - part.inside.begin));
    at += static_cast<int64_t>(values.size());
  }
  if (at != part.size)
    fail(ExitCode::invalid_file,
         "checkpoint: the ranks' parts of {} hold {} elements, the parameter has {}", name, at,
         part.size);
}

}  // namespace terse
