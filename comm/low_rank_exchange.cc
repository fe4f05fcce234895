#include "comm/low_rank_exchange.h"

#include <ATen/ATen.h>

#include <cmath>
#include <cstring>
#include <optional>

#include "base/error.h"
#include "base/tensor_view.h"
#include "comm/exchange_tensors.h"
#include "comm/low_rank.h"
#include "comm/saved_ranks.h"

namespace terse {

// A segment that travels as two factors. `p`, `q`: where they lie in the slot's flat buffers.
struct LowRankExchange::Matrix {
  Segment segment;
  int64_t rank = 0;
  int64_t p = 0, q = 0;
  at::Tensor warm;  // Q^T [rank, columns], committed

  std::span<float> factor() const {
    return {warm.mutable_data_ptr<float>(), static_cast<size_t>(warm.numel())};
  }
  at::Tensor of(const at::Tensor& flat) const {
    return flat.narrow(0, segment.offset, segment.size).view({segment.rows, segment.columns});
  }
  at::Tensor pt(const at::Tensor& flat) const {
    return flat.narrow(0, p, rank * segment.rows).view({rank, segment.rows});
  }
  // The span of Q is what counts; columns of very different length would cost M Q its digits.
  void orthonormalise_warm(int64_t step) const {
    orthonormalise(warm.mutable_data_ptr<float>(), rank, segment.columns,
                   seed_of(segment.name, step, -2));
  }
  at::Tensor qt(const at::Tensor& flat) const {
    return flat.narrow(0, q, rank * segment.columns).view({rank, segment.columns});
  }
};

namespace {

std::string factor_key(const Segment& segment) {
  return "exchange/factor/" + segment.name;
}

// Saved for all ranks, or by those that had the matrix.
std::optional<TensorView> saved_factor(const StateReader& state, const Segment& segment) {
  auto saved = state.tensor(Scope::shared, factor_key(segment), 0);
  if (!saved) saved = state.tensor(Scope::own, factor_key(segment));
  for (int64_t rank = 0; !saved && rank < state.saved_ranks(); ++rank)
    saved = state.tensor(Scope::own, factor_key(segment), rank);
  return saved;
}

}  // namespace

struct LowRankExchange::Slot {
  struct Whole {
    Segment segment;
    int64_t at = 0;  // in `first`
  };
  const Bucket* bucket = nullptr;
  int64_t step = 0;  // of the exchange under way
  std::vector<Matrix> matrices;
  std::vector<Whole> whole;
  at::Tensor first, second;  // P^T of all matrices and the whole segments; Q^T of all matrices
  at::Tensor m;              // message + residual; becomes what is left
  at::Tensor message;
  at::Tensor live;
  bool written = false;  // `second` holds the Q of a step that is not committed yet
};

LowRankExchange::LowRankExchange(Group group, const PowerSgdOptions& options, at::Device device)
    : group_(std::move(group)),
      options_(options),
      device_(device),
      control_(options.feedback, kWorkerResidual) {
  check_cpu(device, "lowrank");
  if (options.feedback.bf16)
    fail(ExitCode::usage,
         "[exchange] residual = \"bf16\" does not go with codec = \"lowrank\"; use \"fp32\"");
}

LowRankExchange::~LowRankExchange() = default;

std::string LowRankExchange::name() const {
  return "low-rank";
}

void LowRankExchange::attach(const BucketPlan& plan) {
  plan_ = plan;
  slots_.clear();
  int64_t longest = 0;
  for (const Bucket& bucket : plan_.buckets) {
    auto slot = std::make_unique<Slot>();
    slot->bucket = &bucket;
    plan_slot(*slot, {});
    slots_.push_back(std::move(slot));
    longest = std::max(longest, bucket.size);
  }
  product_ = at::empty({longest}, at::kFloat);
  control_.attach(plan_, device_);
  attach_factors();
}

// Keeps the Q of matrices that had one.
void LowRankExchange::plan_slot(Slot& slot, std::span<const double> parameters) const {
  std::vector<Matrix> old = std::move(slot.matrices);
  slot.matrices.clear();
  slot.whole.clear();
  int64_t p = 0, q = 0;
  for (size_t s = 0; s < slot.bucket->segments.size(); ++s) {
    const Segment& segment = slot.bucket->segments[s];
    const int64_t wanted = parameters.empty() ? options_.rank : std::llround(parameters[s]);
    const int64_t rank = useful_rank(segment.rows, segment.columns, wanted);
    if (rank == 0) {
      slot.whole.push_back({segment, p});
      p += segment.size;
      continue;
    }
    Matrix matrix{segment, rank, p, q, at::empty({rank, segment.columns}, at::kFloat)};
    std::span<const float> known;
    for (const Matrix& before : old)
      if (before.segment.name == segment.name) known = before.factor();
    resize_factor(known, segment.columns, seed_of(segment.name, slot.step, rank), matrix.factor());
    matrix.orthonormalise_warm(slot.step);
    slot.matrices.push_back(std::move(matrix));
    p += rank * segment.rows;
    q += rank * segment.columns;
  }
  slot.first = at::empty({p}, at::kFloat);
  slot.second = at::empty({q}, at::kFloat);
}

void LowRankExchange::attach_factors() {
  BucketPlan first, second;
  for (const auto& slot : slots_) {
    const auto one = [&](BucketPlan& plan, int64_t n) {
      plan.buckets.push_back({.index = slot->bucket->index,
                              .size = n,
                              .segments = {{.name = "factors", .size = n, .columns = n}}});
    };
    one(first, slot->first.numel());
    one(second, slot->second.numel());
  }
  first_ = std::make_unique<DenseExchange>(group_, DenseOptions{}, device_);
  second_ = std::make_unique<DenseExchange>(group_, DenseOptions{}, device_);
  first_->attach(first);
  second_->attach(second);
}

void LowRankExchange::set_parameters(int64_t bucket, std::span<const double> parameters) {
  Slot& s = slot(bucket);
  if (!parameters.empty() && parameters.size() != s.bucket->segments.size())
    fail(ExitCode::usage, "{} ranks for {} segments", parameters.size(), s.bucket->segments.size());
  plan_slot(s, parameters);
  attach_factors();
}

void LowRankExchange::start(int64_t bucket, const at::Tensor& message) {
  Slot& s = slot(bucket);
  check_bucket_tensor(message, s.bucket->size, "message");
  const ErrorControl::Input kept = control_.begin(bucket);
  s.step = static_cast<int64_t>(kept.step);
  if (observer_) observer_(bucket, message, kept.residual);
  s.message = message;
  s.m = kept.left;
  at::add_out(s.m, message, kept.residual);
  if (s.live.defined()) zero_dead(s.live, s.m);
  for (const Matrix& a : s.matrices) {
    at::Tensor out = a.pt(s.first);
    at::mm_out(out, a.warm, a.of(s.m).t());
  }
  for (const Slot::Whole& w : s.whole)
    s.first.narrow(0, w.at, w.segment.size).copy_(s.m.narrow(0, w.segment.offset, w.segment.size));
  ++encodes_;
  first_->start(bucket, s.first);
}

void LowRankExchange::multiply_p(Slot& s) {
  for (const Matrix& a : s.matrices) {
    const at::Tensor pt = a.pt(s.first);
    orthonormalise(pt.mutable_data_ptr<float>(), a.rank, a.segment.rows,
                   seed_of(a.segment.name, s.step, -1));
    at::Tensor out = a.qt(s.second);
    at::mm_out(out, pt, a.of(s.m));
  }
}

void LowRankExchange::advance(int64_t bucket, int round) {
  TERSE_CHECK(round > 0 && round < rounds(), "round {}", round);
  Slot& s = slot(bucket);
  if (round == 1) {
    first_->advance(bucket, 1);
  } else if (round == 2) {
    first_->finish(bucket, s.first);
    multiply_p(s);
    second_->start(bucket, s.second);
  } else {
    second_->advance(bucket, 1);
  }
}

void LowRankExchange::finish(int64_t bucket, at::Tensor answer) {
  Slot& s = slot(bucket);
  check_bucket_tensor(answer, s.bucket->size, "answer");
  second_->finish(bucket, s.second);
  s.written = true;
  const at::Tensor product = product_.narrow(0, 0, s.bucket->size);
  float* out = product.mutable_data_ptr<float>();
  for (const Matrix& a : s.matrices)
    low_rank_product(a.pt(s.first).const_data_ptr<float>(), a.qt(s.second).const_data_ptr<float>(),
                     a.rank, a.segment.rows, a.segment.columns, out + a.segment.offset);
  for (const Slot::Whole& w : s.whole)
    product.narrow(0, w.segment.offset, w.segment.size)
        .copy_(s.first.narrow(0, w.at, w.segment.size));
  if (s.live.defined()) zero_dead(s.live, product);
  s.m.sub_(product);
  for (const Slot::Whole& w : s.whole) s.m.narrow(0, w.segment.offset, w.segment.size).zero_();
  control_.encoded(bucket, s.message);
  answer.copy_(product);
  control_.answered(bucket, answer);
  s.message = s.m = at::Tensor();
}

void LowRankExchange::set_live(int64_t bucket, const at::Tensor& words) {
  check_live_words(words, slot(bucket).bucket->size, bucket);
  slot(bucket).live = words;
}

int64_t LowRankExchange::wire_bytes(int64_t bucket) const {
  return first_->wire_bytes(bucket) + second_->wire_bytes(bucket);
}

void LowRankExchange::commit() {
  control_.commit();
  for (const auto& s : slots_)
    if (std::exchange(s->written, false))
      for (const Matrix& a : s->matrices) {
        a.warm.copy_(a.qt(s->second));
        a.orthonormalise_warm(s->step);
      }
}

void LowRankExchange::rollback() {
  control_.rollback();
  for (const auto& s : slots_) s->written = false;
}

void LowRankExchange::reset_residuals() {
  control_.zero();
}

double LowRankExchange::residual_norm() const {
  return std::sqrt(control_.squared_norm());
}

void LowRankExchange::save(StateWriter& state) const {
  control_.save(state);
  for (const auto& s : slots_) {
    for (const Matrix& a : s->matrices)
      state.tensor(options_.own_matrices ? Scope::own : Scope::shared, factor_key(a.segment),
                   {DType::f32,
                    {a.rank, a.segment.columns},
                    bytes_of(a.warm.const_data_ptr<float>(), a.warm.numel())});
  }
}

// A factor of another rank (the allocation has changed since) is cut or filled up.
void LowRankExchange::load(const StateReader& state) {
  control_.load(state, shared_alike(state, group_.size()));
  for (const auto& s : slots_) {
    for (const Matrix& a : s->matrices) {
      const auto saved = saved_factor(state, a.segment);
      if (!saved || saved->shape.size() != 2 || saved->shape[1] != a.segment.columns) continue;
      const auto values = saved->as<float>();
      std::memcpy(a.warm.mutable_data_ptr<float>(), values.data(),
                  std::min(values.size(), static_cast<size_t>(a.warm.numel())) * sizeof(float));
    }
  }
}

at::Tensor LowRankExchange::factor(int64_t bucket, const std::string& segment) const {
  for (const Matrix& a : slot(bucket).matrices)
    if (a.segment.name == segment) return a.warm;
  return {};
}

}  // namespace terse
