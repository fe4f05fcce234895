#include "comm/two_stage_exchange.h"

#include <ATen/ATen.h>

#include <cmath>

#include "base/error.h"
#include "comm/exchange_tensors.h"

namespace terse {
namespace {

// Messages of one bucket back to back in one tensor, as the Group's collectives want them.
struct Mail {
  at::Tensor bytes;
  std::vector<int64_t> sizes;
  std::vector<std::span<std::byte>> messages;

  void allocate(std::vector<int64_t> message_sizes, at::Device device) {
    sizes = std::move(message_sizes);
    int64_t total = 0;
    for (const int64_t size : sizes) total += size;
    bytes = at::empty({total}, at::TensorOptions().dtype(at::kByte).device(device));
    auto* at = static_cast<std::byte*>(bytes.mutable_data_ptr());
    for (const int64_t size : sizes) {
      messages.emplace_back(at, static_cast<size_t>(size));
      at += size;
    }
  }
  std::vector<std::span<const std::byte>> views() const {
    return {messages.begin(), messages.end()};
  }
};

std::vector<MessageTag> tags_of_all(int64_t bucket, int64_t ranks, uint8_t stage) {
  std::vector<MessageTag> tags;
  for (int64_t rank = 0; rank < ranks; ++rank)
    tags.push_back({.bucket = static_cast<uint32_t>(bucket),
                    .sender = static_cast<uint32_t>(rank),
                    .step = 0,
                    .stage = stage});
  return tags;
}

}  // namespace

struct TwoStageExchange::Slot {
  int64_t size = 0;
  uint64_t step = 0;
  std::vector<Range> chunks;
  std::unique_ptr<BoundCodec> worker;               // the bucket, cut into chunks
  std::vector<std::unique_ptr<BoundCodec>> server;  // every rank's chunk as a bucket of its own
  Mail outbox, inbox;                               // stage 0: my chunks to all; all's to me
  Mail own, gathered;                               // stage 1
  std::vector<MessageTag> worker_tags, server_tags;
  std::vector<int64_t> used;
  std::vector<std::span<const std::byte>> inbox_views, gathered_views;
  at::Tensor mean;
  at::Tensor live;
  Pending pending;

  const uint64_t* live_words(int64_t first) const {
    if (!live.defined()) return nullptr;
    return reinterpret_cast<const uint64_t*>(live.const_data_ptr<int64_t>()) + first / 64;
  }
};

TwoStageExchange::TwoStageExchange(Group group, std::unique_ptr<Codec> codec, at::Device device)
    : group_(std::move(group)),
      codec_(std::move(codec)),
      device_(device),
      worker_(Residual::Kind::worker, "exchange/residual"),
      server_(Residual::Kind::server, "exchange/server_residual") {
  if (!device.is_cpu())
    fail(ExitCode::usage,
         "[exchange] codec = \"{}\" averages CPU tensors only; use fp32 or bf16, or [train] device "
         "= \"cpu\"",
         codec_->name());
}

TwoStageExchange::~TwoStageExchange() = default;

std::string TwoStageExchange::name() const {
  return "two-stage " + codec_->name();
}

void TwoStageExchange::attach(const BucketPlan& plan) {
  slots_.clear();
  std::vector<Range> whole, own;
  for (const Bucket& bucket : plan.buckets) {
    slots_.push_back(make_slot(bucket));
    whole.push_back({0, bucket.size});
    own.push_back(slots_.back()->chunks[static_cast<size_t>(group_.rank())]);
  }
  worker_.attach(plan, std::move(whole), device_);
  server_.attach(plan, std::move(own), device_);
}

std::unique_ptr<TwoStageExchange::Slot> TwoStageExchange::make_slot(const Bucket& bucket) const {
  const int64_t ranks = group_.size(), rank = group_.rank();
  auto slot = std::make_unique<Slot>();
  slot->size = bucket.size;
  for (int64_t j = 0; j < ranks; ++j) slot->chunks.push_back(chunk_of(bucket.size, ranks, j));
  slot->worker = codec_->bind(bucket, slot->chunks);
  TERSE_CHECK(slot->worker->fixed_size(), "{} has messages of variable size", codec_->name());
  std::vector<int64_t> out, in, back;
  for (int64_t j = 0; j < ranks; ++j) {
    const Range chunk = slot->chunks[static_cast<size_t>(j)];
    slot->server.push_back(codec_->bind(slice_bucket(bucket, chunk), {Range{0, chunk.size()}}));
    out.push_back(slot->worker->bytes(j));
    in.push_back(slot->worker->bytes(rank));
    back.push_back(slot->server.back()->bytes(0));
  }
  slot->own.allocate({back[static_cast<size_t>(rank)]}, device_);
  slot->outbox.allocate(std::move(out), device_);
  slot->inbox.allocate(std::move(in), device_);
  slot->gathered.allocate(std::move(back), device_);
  slot->inbox_views = slot->inbox.views();
  slot->gathered_views = slot->gathered.views();
  slot->worker_tags = tags_of_all(bucket.index, ranks, 0);
  slot->server_tags = tags_of_all(bucket.index, ranks, 1);
  slot->used.resize(static_cast<size_t>(ranks));
  slot->mean = at::empty({slot->chunks[static_cast<size_t>(rank)].size()},
                         at::TensorOptions().dtype(at::kFloat).device(device_));
  return slot;
}

void TwoStageExchange::start(int64_t bucket, const at::Tensor& message) {
  Slot& slot = *slots_.at(static_cast<size_t>(bucket));
  check_bucket_tensor(message, slot.size, "message");
  ++slot.step;
  for (auto& tag : slot.worker_tags) tag.step = slot.step;
  for (auto& tag : slot.server_tags) tag.step = slot.step;
  const EncodeInput input{.message = message.const_data_ptr<float>(),
                          .residual = worker_.current(bucket).const_data_ptr<float>(),
                          .shadow = worker_.shadow(bucket).mutable_data_ptr<float>(),
                          .live = slot.live_words(0)};
  slot.worker->encode(slot.worker_tags[static_cast<size_t>(group_.rank())], input,
                      slot.outbox.messages, slot.used);
  ++encodes_;
  slot.pending = group_.all_to_all(slot.inbox.bytes, slot.outbox.bytes, slot.inbox.sizes,
                                   slot.outbox.sizes, bucket_tag(bucket));
}

void TwoStageExchange::advance(int64_t bucket, int round) {
  TERSE_CHECK(round == 1, "round {}", round);
  Slot& slot = *slots_.at(static_cast<size_t>(bucket));
  const int rank = group_.rank();
  const auto own = static_cast<size_t>(rank);
  slot.pending.wait();
  slot.worker->decode_sum(rank, slot.worker_tags, slot.inbox_views,
                          1.0f / static_cast<float>(group_.size()), slot.live_words(0),
                          slot.mean.mutable_data_ptr<float>());
  const EncodeInput input{.message = slot.mean.const_data_ptr<float>(),
                          .residual = server_.current(bucket).const_data_ptr<float>(),
                          .shadow = server_.shadow(bucket).mutable_data_ptr<float>(),
                          .live = slot.live_words(slot.chunks[own].begin)};
  slot.server[own]->encode(slot.server_tags[own], input, slot.own.messages,
                           std::span(slot.used).first(1));
  slot.pending = group_.all_gather_v(slot.gathered.bytes, slot.own.bytes, slot.gathered.sizes,
                                     bucket_tag(bucket));
}

void TwoStageExchange::finish(int64_t bucket, at::Tensor answer) {
  Slot& slot = *slots_.at(static_cast<size_t>(bucket));
  check_bucket_tensor(answer, slot.size, "answer");
  slot.pending.wait();
  slot.pending = Pending();
  float* out = answer.mutable_data_ptr<float>();
  for (size_t j = 0; j < slot.chunks.size(); ++j) {
    const int64_t first = slot.chunks[j].begin;
    slot.server[j]->decode_sum(0, std::span(slot.server_tags).subspan(j, 1),
                               std::span(slot.gathered_views).subspan(j, 1), 1.0f,
                               slot.live_words(first), out + first);
  }
}

void TwoStageExchange::set_live(int64_t bucket, const at::Tensor& words) {
  Slot& slot = *slots_.at(static_cast<size_t>(bucket));
  TERSE_CHECK(!words.defined() || (words.scalar_type() == at::kLong && words.is_contiguous() &&
                                   words.numel() * 64 >= slot.size),
              "live mask of bucket {}", bucket);
  slot.live = words;
}

int64_t TwoStageExchange::wire_bytes(int64_t bucket) const {
  const Slot& slot = *slots_.at(static_cast<size_t>(bucket));
  const auto own = static_cast<size_t>(group_.rank());
  int64_t bytes = slot.own.sizes[0] * (group_.size() - 1);
  for (size_t j = 0; j < slot.outbox.sizes.size(); ++j)
    if (j != own) bytes += slot.outbox.sizes[j];
  return bytes;
}

void TwoStageExchange::commit() {
  worker_.commit();
  server_.commit();
}

void TwoStageExchange::rollback() {
  worker_.rollback();
  server_.rollback();
}

void TwoStageExchange::reset_residuals() {
  worker_.zero();
  server_.zero();
}

double TwoStageExchange::residual_norm() const {
  return std::sqrt(worker_.squared_norm());
}

void TwoStageExchange::save(StateWriter& state) const {
  worker_.save(state);
  server_.save(state);
}

void TwoStageExchange::load(const StateReader& state) {
  worker_.load(state, group_.size());
  server_.load(state, group_.size());
}

}  // namespace terse
