#include "comm/gather_exchange.h"

#include <cmath>

#include "base/error.h"
#include "comm/exchange_tensors.h"
#include "comm/mail.h"
#include "comm/saved_ranks.h"

namespace terse {

struct GatherExchange::Slot {
  int64_t size = 0;
  std::unique_ptr<BoundCodec> codec;  // the bucket as one part
  Mail own, gathered;
  std::vector<MessageTag> tags;
  int64_t used = 0;
  Lengths lengths;
  at::Tensor live;
  Pending pending;

  const uint64_t* live_words() const {
    return live.defined() ? reinterpret_cast<const uint64_t*>(live.const_data_ptr<int64_t>())
                          : nullptr;
  }
};

GatherExchange::GatherExchange(Group group, std::unique_ptr<Codec> codec,
                               const FeedbackOptions& feedback, at::Device device)
    : group_(std::move(group)),
      codec_(std::move(codec)),
      device_(device),
      control_(feedback, kWorkerResidual) {
  check_cpu(device, codec_->name());
}

GatherExchange::~GatherExchange() = default;

std::string GatherExchange::name() const {
  return "all-gather " + codec_->name();
}

void GatherExchange::attach(const BucketPlan& plan) {
  plan_ = plan;
  slots_.clear();
  for (const Bucket& bucket : plan.buckets) slots_.push_back(make_slot(bucket, {}));
  control_.attach(plan, device_);
}

std::unique_ptr<GatherExchange::Slot> GatherExchange::make_slot(
    const Bucket& bucket, std::span<const double> parameters) const {
  auto slot = std::make_unique<Slot>();
  slot->size = bucket.size;
  slot->codec = codec_->bind(bucket, {Range{0, bucket.size}}, parameters);
  const int64_t room = slot->codec->bytes(0);
  slot->own = Mail({room}, device_);
  slot->gathered = Mail(std::vector<int64_t>(static_cast<size_t>(group_.size()), room), device_);
  slot->tags = tags_of_all(bucket.index, group_.size(), 0);
  return slot;
}

void GatherExchange::set_parameters(int64_t bucket, std::span<const double> parameters) {
  Slot& old = slot(bucket);
  auto made = make_slot(plan_.buckets.at(static_cast<size_t>(bucket)), parameters);
  made->live = old.live;
  slots_[static_cast<size_t>(bucket)] = std::move(made);
}

void GatherExchange::set_density(double density) {
  for (const Bucket& bucket : plan_.buckets)
    set_parameters(bucket.index, codec_->densities(bucket, density));
}

void GatherExchange::start(int64_t bucket, const at::Tensor& message) {
  Slot& s = slot(bucket);
  check_bucket_tensor(message, s.size, "message");
  const ErrorControl::Input kept = control_.begin(bucket);
  for (auto& tag : s.tags) tag.step = kept.step;
  if (observer_) observer_(bucket, message, kept.residual);
  const EncodeInput input{.message = message.const_data_ptr<float>(),
                          .residual = kept.residual.const_data_ptr<float>(),
                          .shadow = kept.left.mutable_data_ptr<float>(),
                          .live = s.live_words()};
  s.codec->encode(s.tags[static_cast<size_t>(group_.rank())], input, s.own.rooms(),
                  std::span(&s.used, 1));
  control_.encoded(bucket, message);
  ++encodes_;
  s.own.pack(std::span(&s.used, 1));
  s.pending = s.lengths.all_gather(group_, s.used, bucket_tag(bucket));
}

void GatherExchange::advance(int64_t bucket, int round) {
  TERSE_CHECK(round == 1, "round {}", round);
  Slot& s = slot(bucket);
  s.pending.wait();
  s.gathered.expect(s.lengths.received());
  s.pending = group_.all_gather_v(s.gathered.bytes(), s.own.bytes(), s.gathered.sizes(),
                                  bucket_tag(bucket));
}

void GatherExchange::finish(int64_t bucket, at::Tensor answer) {
  Slot& s = slot(bucket);
  check_bucket_tensor(answer, s.size, "answer");
  s.pending.wait();
  s.pending = Pending();
  s.codec->decode_sum(0, s.tags, s.gathered.messages(), 1.0f / static_cast<float>(group_.size()),
                      s.live_words(), answer.mutable_data_ptr<float>());
  control_.answered(bucket, answer);
}

void GatherExchange::set_live(int64_t bucket, const at::Tensor& words) {
  check_live_words(words, slot(bucket).size, bucket);
  slot(bucket).live = words;
}

std::span<const int64_t> GatherExchange::selected(int64_t bucket) const {
  return slot(bucket).codec->selected();
}

int64_t GatherExchange::wire_bytes(int64_t bucket) const {
  return (slot(bucket).own.total() + Lengths::kBytes) * (group_.size() - 1);
}

void GatherExchange::commit() {
  control_.commit();
}

void GatherExchange::rollback() {
  control_.rollback();
}

void GatherExchange::reset_residuals() {
  control_.zero();
}

double GatherExchange::residual_norm() const {
  return std::sqrt(control_.squared_norm());
}

void GatherExchange::save(StateWriter& state) const {
  control_.save(state);
}

void GatherExchange::load(const StateReader& state) {
  control_.load(state, shared_alike(state, group_.size()));
  take_over_owners(state);
}

// What owners had kept when this ran in two stages (sparse = "auto" on more ranks) is owed by all.
void GatherExchange::take_over_owners(const StateReader& state) {
  std::vector<Range> whole;
  for (const Bucket& bucket : plan_.buckets) whole.push_back({0, bucket.size});
  Residual owed(kServerResidual);
  owed.attach(plan_, whole, at::kCPU);
  if (!owed.saved(state)) return;
  owed.load(state, false);
  for (const Bucket& bucket : plan_.buckets) control_.add(bucket.index, owed.current(bucket.index));
}

}  // namespace terse
