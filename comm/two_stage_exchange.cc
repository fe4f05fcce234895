#include "comm/two_stage_exchange.h"

#include <ATen/ATen.h>

#include <cmath>

#include "base/error.h"
#include "comm/exchange_tensors.h"
#include "comm/mail.h"
#include "comm/saved_ranks.h"

namespace terse {

struct TwoStageExchange::Slot {
  int64_t index = 0;
  int64_t size = 0;
  std::vector<Range> chunks;
  std::unique_ptr<BoundCodec> worker;               // the bucket, cut into chunks
  std::vector<std::unique_ptr<BoundCodec>> server;  // every rank's chunk as a bucket of its own
  Mail outbox, inbox;                               // stage 0: my chunks to all; all's to me
  Mail own, gathered;                               // stage 1
  std::vector<MessageTag> worker_tags, server_tags;
  std::vector<int64_t> used;
  Lengths chunk_lengths, answer_lengths;
  at::Tensor mean;
  at::Tensor live;
  Pending pending;

  const uint64_t* live_words(int64_t first) const {
    if (!live.defined()) return nullptr;
    return reinterpret_cast<const uint64_t*>(live.const_data_ptr<int64_t>()) + first / 64;
  }
};

TwoStageExchange::TwoStageExchange(Group group, std::unique_ptr<Codec> codec,
                                   const FeedbackOptions& feedback, at::Device device)
    : group_(std::move(group)),
      codec_(std::move(codec)),
      device_(device),
      worker_(feedback, kWorkerResidual),
      server_(kServerResidual) {}

TwoStageExchange::~TwoStageExchange() = default;

std::string TwoStageExchange::name() const {
  return "two-stage " + codec_->name();
}

void TwoStageExchange::attach(const BucketPlan& plan) {
  plan_ = plan;
  slots_.clear();
  std::vector<Range> own;
  for (const Bucket& bucket : plan.buckets) {
    slots_.push_back(make_slot(bucket, {}));
    own.push_back(slots_.back()->chunks[static_cast<size_t>(group_.rank())]);
    fixed_size_ = slots_.back()->worker->fixed_size();
    if (!fixed_size_) check_cpu(device_, codec_->name());  // lengths travel through host memory
  }
  worker_.attach(plan, device_);
  server_.attach(plan, std::move(own), device_);
}

std::unique_ptr<BoundCodec> TwoStageExchange::bind(const Bucket& bucket, std::vector<Range> parts,
                                                   std::span<const double> parameters) const {
  if (device_.is_cpu()) return codec_->bind(bucket, std::move(parts), parameters);
  return codec_->bind_device(
      bucket, std::move(parts), [device = device_] { return current_stream(device); }, parameters);
}

std::unique_ptr<TwoStageExchange::Slot> TwoStageExchange::make_slot(
    const Bucket& bucket, std::span<const double> parameters) const {
  const int64_t ranks = group_.size(), rank = group_.rank();
  auto slot = std::make_unique<Slot>();
  slot->index = bucket.index;
  slot->size = bucket.size;
  for (int64_t j = 0; j < ranks; ++j) slot->chunks.push_back(chunk_of(bucket.size, ranks, j));
  slot->worker = bind(bucket, slot->chunks, parameters);
  std::vector<int64_t> out, in, back;
  for (int64_t j = 0; j < ranks; ++j) {
    const Range chunk = slot->chunks[static_cast<size_t>(j)];
    slot->server.push_back(bind(slice_bucket(bucket, chunk), {Range{0, chunk.size()}},
                                slice_parameters(bucket, chunk, parameters)));
    out.push_back(slot->worker->bytes(j));
    in.push_back(slot->worker->bytes(rank));
    back.push_back(slot->server.back()->bytes(0));
  }
  slot->own = Mail({back[static_cast<size_t>(rank)]}, device_);
  slot->outbox = Mail(std::move(out), device_);
  slot->inbox = Mail(std::move(in), device_);
  slot->gathered = Mail(std::move(back), device_);
  slot->worker_tags = tags_of_all(bucket.index, ranks, 0);
  slot->server_tags = tags_of_all(bucket.index, ranks, 1);
  slot->used.resize(static_cast<size_t>(ranks));
  slot->mean = at::empty({slot->chunks[static_cast<size_t>(rank)].size()},
                         at::TensorOptions().dtype(at::kFloat).device(device_));
  return slot;
}

void TwoStageExchange::set_parameters(int64_t bucket, std::span<const double> parameters) {
  Slot& old = slot(bucket);
  auto made = make_slot(plan_.buckets.at(static_cast<size_t>(bucket)), parameters);
  made->live = old.live;
  slots_[static_cast<size_t>(bucket)] = std::move(made);
}

void TwoStageExchange::set_density(double density) {
  for (const Bucket& bucket : plan_.buckets)
    set_parameters(bucket.index, codec_->densities(bucket, density));
}

void TwoStageExchange::start(int64_t bucket, const at::Tensor& message) {
  Slot& s = slot(bucket);
  check_bucket_tensor(message, s.size, "message");
  const ErrorControl::Input kept = worker_.begin(bucket);
  for (auto& tag : s.worker_tags) tag.step = kept.step;
  for (auto& tag : s.server_tags) tag.step = kept.step;
  if (observer_) observer_(bucket, message, kept.residual);
  const EncodeInput input{.message = message.const_data_ptr<float>(),
                          .residual = kept.residual.const_data_ptr<float>(),
                          .shadow = kept.left.mutable_data_ptr<float>(),
                          .live = s.live_words(0)};
  s.worker->encode(s.worker_tags[static_cast<size_t>(group_.rank())], input, s.outbox.rooms(),
                   s.used);
  worker_.encoded(bucket, message);
  ++encodes_;
  s.outbox.pack(s.used);
  if (fixed_size_)
    send_chunks(s);
  else
    s.pending = s.chunk_lengths.all_to_all(group_, s.used, bucket_tag(bucket));
}

void TwoStageExchange::send_chunks(Slot& s) {
  if (!fixed_size_) s.inbox.expect(s.chunk_lengths.received());
  s.pending = group_.all_to_all(s.inbox.bytes(), s.outbox.bytes(), s.inbox.sizes(),
                                s.outbox.sizes(), bucket_tag(s.index));
}

void TwoStageExchange::average_own_chunk(Slot& s) {
  const auto own = static_cast<size_t>(group_.rank());
  s.worker->decode_sum(group_.rank(), s.worker_tags, s.inbox.messages(),
                       1.0f / static_cast<float>(group_.size()), s.live_words(0),
                       s.mean.mutable_data_ptr<float>());
  const EncodeInput input{.message = s.mean.const_data_ptr<float>(),
                          .residual = server_.current(s.index).const_data_ptr<float>(),
                          .shadow = server_.shadow(s.index).mutable_data_ptr<float>(),
                          .live = s.live_words(s.chunks[own].begin)};
  const std::span<int64_t> used = std::span(s.used).first(1);
  s.server[own]->encode(s.server_tags[own], input, s.own.rooms(), used);
  s.own.pack(used);
  if (fixed_size_)
    send_average(s);
  else
    s.pending = s.answer_lengths.all_gather(group_, s.used[0], bucket_tag(s.index));
}

void TwoStageExchange::send_average(Slot& s) {
  if (!fixed_size_) s.gathered.expect(s.answer_lengths.received());
  s.pending = group_.all_gather_v(s.gathered.bytes(), s.own.bytes(), s.gathered.sizes(),
                                  bucket_tag(s.index));
}

void TwoStageExchange::advance(int64_t bucket, int round) {
  TERSE_CHECK(round > 0 && round < rounds(), "round {}", round);
  Slot& s = slot(bucket);
  s.pending.wait();
  if (fixed_size_ || round == 2)
    average_own_chunk(s);
  else if (round == 1)
    send_chunks(s);
  else
    send_average(s);
}

void TwoStageExchange::finish(int64_t bucket, at::Tensor answer) {
  Slot& s = slot(bucket);
  check_bucket_tensor(answer, s.size, "answer");
  s.pending.wait();
  s.pending = Pending();
  float* out = answer.mutable_data_ptr<float>();
  for (size_t j = 0; j < s.chunks.size(); ++j) {
    const int64_t first = s.chunks[j].begin;
    s.server[j]->decode_sum(0, std::span(s.server_tags).subspan(j, 1),
                            std::span(s.gathered.messages()).subspan(j, 1), 1.0f,
                            s.live_words(first), out + first);
  }
  // Before the vote, so that nobody commits what a wrong message has made.
  s.worker->settle();
  for (const auto& server : s.server) server->settle();
  worker_.answered(bucket, answer);
}

// Reading the answer again costs as much as decoding it did; the owners' scales are few.
bool TwoStageExchange::finite(int64_t bucket, const at::Tensor& answer) const {
  const Slot& s = slot(bucket);
  for (size_t j = 0; j < s.chunks.size(); ++j) {
    const std::optional<bool> known = s.server[j]->finite(0, s.gathered.messages()[j]);
    if (!known) return Exchange::finite(bucket, answer);
    if (!*known) return false;
  }
  return true;
}

void TwoStageExchange::set_live(int64_t bucket, const at::Tensor& words) {
  check_live_words(words, slot(bucket).size, bucket);
  slot(bucket).live = words;
}

std::span<const int64_t> TwoStageExchange::selected(int64_t bucket) const {
  return slot(bucket).worker->selected();
}

int64_t TwoStageExchange::wire_bytes(int64_t bucket) const {
  const Slot& s = slot(bucket);
  const int64_t others = group_.size() - 1;
  const int64_t lengths = fixed_size_ ? 0 : 2 * others * Lengths::kBytes;
  return s.outbox.total() - s.outbox.sizes()[static_cast<size_t>(group_.rank())] +
         s.own.total() * others + lengths;
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
  const bool own = shared_alike(state, group_.size());
  worker_.load(state, own);
  // Top-k on few ranks gathers, and has no owners.
  if (selects() && !server_.saved(state))
    server_.zero();
  else
    server_.load(state, own);
}

}  // namespace terse
