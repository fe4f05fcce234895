#include "comm/dense_exchange.h"

#include <ATen/ATen.h>

#include "base/error.h"
#include "comm/codec/dense_arrays.h"
#include "comm/codec/dense_device.h"
#include "comm/exchange_tensors.h"

namespace terse {
namespace {

const uint16_t* bf16_data(const at::Tensor& tensor) {
  return reinterpret_cast<const uint16_t*>(tensor.const_data_ptr());
}

void round_to(const at::Tensor& from, at::Tensor& to) {
  const float* in = from.const_data_ptr<float>();
  auto* out = reinterpret_cast<uint16_t*>(to.mutable_data_ptr());
  if (from.is_cpu()) return to_bf16(in, nullptr, from.numel(), out, nullptr);
  to_bf16_device(in, from.numel(), out, current_stream(from.device()));
}

void widen_to(const at::Tensor& from, at::Tensor& to) {
  float* out = to.mutable_data_ptr<float>();
  if (from.is_cpu()) return from_bf16(bf16_data(from), from.numel(), out);
  from_bf16_device(bf16_data(from), from.numel(), out, current_stream(from.device()));
}

}  // namespace

DenseExchange::DenseExchange(Group group, DenseOptions options, at::Device device)
    : group_(std::move(group)), options_(options), device_(device) {
  TERSE_CHECK(!(options.bf16 && options.backend_all_reduce), "all-reduce is fp32 only");
}

std::string DenseExchange::name() const {
  if (options_.backend_all_reduce) return "all-reduce fp32";
  return options_.bf16 ? "dense bf16" : "dense fp32";
}

void DenseExchange::attach(const BucketPlan& plan) {
  slots_.clear();
  const auto fp32 = at::TensorOptions().dtype(at::kFloat).device(device_);
  const auto wire = fp32.dtype(options_.bf16 ? at::kBFloat16 : at::kFloat);
  for (const Bucket& bucket : plan.buckets) {
    Slot slot;
    slot.size = bucket.size;
    for (int64_t j = 0; j < group_.size(); ++j)
      slot.chunks.push_back(chunk_of(bucket.size, group_.size(), j).size());
    const int64_t own = slot.chunks[static_cast<size_t>(group_.rank())];
    slot.own.assign(slot.chunks.size(), own);
    slot.gathered = at::empty({bucket.size}, wire);
    if (!options_.backend_all_reduce) {
      if (options_.bf16) slot.sent = at::empty({bucket.size}, wire);
      slot.received = at::empty({own * group_.size()}, wire);
      slot.mean = at::empty({own}, fp32);
    }
    slots_.push_back(std::move(slot));
  }
}

void DenseExchange::start(int64_t bucket, const at::Tensor& message) {
  Slot& slot = slots_.at(static_cast<size_t>(bucket));
  check_bucket_tensor(message, slot.size, "message");
  const std::string tag = bucket_tag(bucket);
  if (options_.backend_all_reduce) {
    slot.gathered.copy_(message);
    slot.pending = group_.all_reduce(slot.gathered, tag);
    return;
  }
  if (options_.bf16) round_to(message, slot.sent);
  slot.pending = group_.all_to_all(slot.received, options_.bf16 ? slot.sent : message, slot.own,
                                   slot.chunks, tag);
}

void DenseExchange::advance(int64_t bucket, int round) {
  TERSE_CHECK(round == 1 && rounds() == 2, "round {}", round);
  Slot& slot = slots_.at(static_cast<size_t>(bucket));
  slot.pending.wait();
  average(slot);
  at::Tensor sent = slot.mean;
  if (options_.bf16) {
    sent = slot.sent.narrow(0, 0, slot.mean.numel());
    round_to(slot.mean, sent);
  }
  slot.pending = group_.all_gather_v(slot.gathered, sent, slot.chunks, bucket_tag(bucket));
}

void DenseExchange::average(Slot& slot) const {
  const int64_t n = slot.mean.numel();
  const float factor = 1.0f / static_cast<float>(group_.size());
  std::vector<const std::byte*> rows;
  const auto* first = static_cast<const std::byte*>(slot.received.const_data_ptr());
  for (int64_t k = 0; k < group_.size(); ++k)
    rows.push_back(first + k * n * slot.received.element_size());
  float* mean = slot.mean.mutable_data_ptr<float>();
  if (slot.mean.is_cpu()) return sum_rows(options_.bf16, rows, n, factor, mean);
  sum_rows_device(options_.bf16, rows, n, factor, mean, current_stream(device_));
}

void DenseExchange::finish(int64_t bucket, at::Tensor answer) {
  Slot& slot = slots_.at(static_cast<size_t>(bucket));
  check_bucket_tensor(answer, slot.size, "answer");
  slot.pending.wait();
  slot.pending = Pending();
  if (options_.backend_all_reduce) {
    at::mul_out(answer, slot.gathered, at::scalar_tensor(1.0f / static_cast<float>(group_.size())));
  } else if (options_.bf16) {
    widen_to(slot.gathered, answer);
  } else {
    answer.copy_(slot.gathered);
  }
}

int64_t DenseExchange::wire_bytes(int64_t bucket) const {
  const Slot& slot = slots_.at(static_cast<size_t>(bucket));
  const int64_t others = group_.size() - 1;
  if (options_.backend_all_reduce) return 2 * slot.size * 4 * others / group_.size();
  const int64_t own = slot.chunks[static_cast<size_t>(group_.rank())];
  return (slot.size - own + own * others) * (options_.bf16 ? 2 : 4);
}

}  // namespace terse
