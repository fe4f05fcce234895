#include "comm/residual.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "comm/sums.h"

namespace terse {

void Residual::attach(const BucketPlan& plan, std::vector<Range> ranges, at::Device device,
                      at::ScalarType type) {
  TERSE_CHECK(ranges.size() == plan.buckets.size(), "{} ranges", ranges.size());
  slots_.clear();
  parts_.clear();
  const auto options = at::TensorOptions().dtype(type).device(device);
  for (size_t b = 0; b < ranges.size(); ++b) {
    const Range range = ranges[b];
    slots_.push_back(
        {range, at::zeros({range.size()}, options), at::zeros({range.size()}, options), false});
    for (const Segment& segment : plan.buckets[b].segments) {
      const int64_t begin = std::max(segment.offset, range.begin);
      const int64_t end = std::min(segment.offset + segment.size, range.end);
      if (begin < end)
        parts_.push_back(
            {b,
             segment.name,
             {segment.begin + begin - segment.offset, segment.begin + end - segment.offset},
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
  for (const Slot& slot : slots_) sum += sum_of_squares(slot.current.to(at::kFloat));
  return sum;
}

void Residual::save(StateWriter& state) const {
  for (const Part& part : parts_) {
    auto host = std::make_shared<at::Tensor>(
        slots_[part.slot].current.narrow(0, part.offset, part.inside.size()).cpu().to(at::kFloat));
    const float* data = host->const_data_ptr<float>();
    const int64_t n = part.inside.size();
    const std::string name = prefix_ + "/" + part.name;
    state.tensor(Scope::own, name, {DType::f32, {n}, bytes_of(data, n)});
    state.keep(host);
    const auto begin = std::make_shared<int64_t>(part.inside.begin);
    state.tensor(Scope::own, name + ".begin", {DType::i64, {1}, bytes_of(begin.get(), 1)});
    state.keep(begin);
  }
}

bool Residual::saved(const StateReader& state) const {
  return std::ranges::any_of(parts_, [&](const Part& part) {
    for (int64_t rank = 0; rank < state.saved_ranks(); ++rank)
      if (state.tensor(Scope::own, prefix_ + "/" + part.name, rank)) return true;
    return false;
  });
}

void Residual::load(const StateReader& state, bool own) {
  rollback();
  for (const Part& part : parts_) {
    const int64_t n = part.inside.size();
    at::Tensor host = at::empty({n}, at::kFloat);
    float* out = host.mutable_data_ptr<float>();
    if (own) {
      const TensorView saved =
          state.require(Scope::own, prefix_ + "/" + part.name, DType::f32, {n});
      std::memcpy(out, saved.data.data(), saved.data.size());
    } else {
      load_mean(state, part, out);
    }
    slots_[part.slot].current.narrow(0, part.offset, n).copy_(host);
  }
}

void Residual::load_mean(const StateReader& state, const Part& part, float* out) const {
  const std::string name = prefix_ + "/" + part.name;
  const auto n = static_cast<size_t>(part.inside.size());
  std::vector<double> sum(n, 0.0);
  std::vector<int64_t> keepers(n, 0);
  for (int64_t rank = 0; rank < state.saved_ranks(); ++rank) {
    const auto saved = state.tensor(Scope::own, name, rank);
    if (!saved) continue;  // that rank kept none of it
    const auto values = saved->as<float>();
    const int64_t first =
        state.require(Scope::own, name + ".begin", DType::i64, {1}, rank).as<int64_t>()[0];
    const int64_t begin = std::max(first, part.inside.begin);
    const int64_t end = std::min(first + static_cast<int64_t>(values.size()), part.inside.end);
    for (int64_t i = begin; i < end; ++i) {
      sum[static_cast<size_t>(i - part.inside.begin)] +=
          static_cast<double>(values[static_cast<size_t>(i - first)]);
      ++keepers[static_cast<size_t>(i - part.inside.begin)];
    }
  }
  for (size_t i = 0; i < n; ++i) {
    if (keepers[i] == 0)
      fail(ExitCode::invalid_file, "checkpoint: no rank kept element {} of {}",
           part.inside.begin + static_cast<int64_t>(i), name);
    out[i] = static_cast<float>(sum[i] / static_cast<double>(keepers[i]));
  }
}

}  // namespace terse
