#include "comm/reducer.h"

#include <ATen/ATen.h>

#include <cmath>

#include "base/checksum.h"
#include "base/error.h"
#include "base/tensor_view.h"
#include "comm/reducer_buffers.h"
#include "comm/reducer_clock.h"
#include "comm/reducer_replicas.h"
#include "comm/reducer_thread.h"
#include "comm/sums.h"
#include "comm/vote.h"

namespace terse {
namespace {

// What two-stage averaging of fp32 sends: its chunks to their owners, its own chunk to all.
int64_t fp32_bytes(const BucketPlan& plan, const Group& group) {
  int64_t elements = 0;
  for (const Bucket& bucket : plan.buckets) {
    const int64_t own = chunk_of(bucket.size, group.size(), group.rank()).size();
    elements += bucket.size - own + own * (group.size() - 1);
  }
  return elements * static_cast<int64_t>(sizeof(float));
}

double total(const std::vector<double>& parts) {
  double sum = 0;
  for (double part : parts) sum += part;
  return sum;
}

}  // namespace

struct Reducer::Impl {
  Impl(Group g, std::vector<Parameter> parameters, std::shared_ptr<Optimizer> o,
       std::unique_ptr<Exchange> d, std::unique_ptr<Exchange> c, ReducerOptions opt)
      : group(std::move(g)),
        optimizer(std::move(o)),
        dense(std::move(d)),
        compressed(std::move(c)),
        options(opt),
        buffers(std::move(parameters), opt.bucket_bytes, opt.rounded),
        plan_hash(buffers.plan().hash()),
        squares(buffers.plan().buckets.size()),
        answer_squares(squares.size()),
        thread(device(), [this](ReducerItem item) { run(item); }) {}

  c10::Device device() const {
    return buffers.tensors().empty() ? c10::Device(c10::kCPU) : buffers.tensors()[0].value.device();
  }
  int64_t bucket_count() const { return static_cast<int64_t>(buffers.plan().buckets.size()); }
  bool coded() const { return context.plan.phase == Phase::codec; }
  // Of this step; null when it exchanges nothing.
  Exchange* exchange() const {
    if (local()) return nullptr;
    return coded() && compressed ? compressed.get() : dense.get();
  }
  double coefficient(double norm) const {
    return options.clip > 0 && norm > options.clip ? options.clip / norm : 1.0;
  }
  // Message and answer of a bucket share their memory; in dense phases with the gradient, which is
  // not needed again then. In local steps it is the gradient.
  at::Tensor message(int64_t bucket) {
    if (!coded()) return buffers[bucket].gradient;
    if (messages.empty())
      for (const BucketTensors& t : buffers.tensors()) messages.push_back(at::empty_like(t.value));
    return messages[static_cast<size_t>(bucket)];
  }

  bool local() const { return context.plan.phase == Phase::skip; }

  void agree_on_plan();
  void run(ReducerItem item);
  void offer(bool background);
  void exact_coefficient();
  void encode_again(double true_coefficient);
  Ballot ballot(double loss, bool stop) const;
  bool decide(const Tally& result, StepResult& r);
  void take(const PhasePlan& following);
  void commit(const Tally& result);
  void take_alone(double loss, StepResult& r);
  void skip(const StepResult& r);
  void tell_live();
  void tell_density(double density);
  void require_sync(const char* to) const;
  void tell_compression();
  // Of the exchange that chooses while running, if there is one.
  Decider* decider() const { return (compressed ? compressed : dense)->decider(); }

  Group group;
  std::shared_ptr<Optimizer> optimizer;
  std::unique_ptr<Exchange> dense;
  std::unique_ptr<Exchange> compressed;
  ReducerOptions options;
  ReducerBuffers buffers;
  uint64_t plan_hash;

  PhasePlan next;        // of the step to come
  double clip_norm = 0;  // as of the last committed step's vote
  int64_t skipped = 0;   // consecutive
  bool in_sync = true;
  int64_t missing = 0;  // this rank's gradients since the last vote that counts

  StepContext context;
  std::vector<at::Tensor> messages;
  std::vector<double> squares;         // of the local gradient, by bucket
  std::vector<double> answer_squares;  // of the averaged message
  bool offered = false;
  ReducerClock clock;
  int64_t wire_before = 0;
  ReducerThread thread;  // last: joined before what it uses goes
};

void Reducer::Impl::agree_on_plan() {
  struct Start {
    uint64_t hash;
    int64_t phase;
    int64_t epoch;
    double density;
  };
  next = optimizer->next_plan(1);
  const auto all = group.all_gather_value(
      Start{plan_hash, static_cast<int64_t>(next.phase), next.residual_epoch, next.density},
      "bucket plan");
  std::string others;
  for (size_t rank = 1; rank < all.size(); ++rank)
    if (all[rank].hash != all[0].hash) others += fmt::format(" {}", rank);
  if (!others.empty())
    fail(ExitCode::disagree,
         "the bucket plan differs from rank 0's on rank(s){}; start all ranks with the same recipe "
         "and the same program",
         others);
  next = {static_cast<Phase>(all[0].phase), all[0].epoch, all[0].density};
}

void Reducer::Impl::run(ReducerItem item) {
  const at::NoGradGuard no_grad;
  const auto b = static_cast<size_t>(item.bucket);
  Exchange* e = exchange();
  const int rounds = e == nullptr ? 0 : e->rounds();
  at::Tensor m = message(item.bucket);
  if (item.round == 0) {
    squares[b] = sum_of_squares(buffers[item.bucket].gradient);
    if (!local()) optimizer->message(context, item.bucket, m);
    if (e != nullptr) e->start(item.bucket, m);
  } else if (item.round < rounds) {
    e->advance(item.bucket, item.round);
  } else {
    e->finish(item.bucket, m);
    if (coded()) optimizer->sent(item.bucket, e->selected(item.bucket));
  }
  if (item.round == rounds && !local()) answer_squares[b] = sum_of_squares(m);
}

void Reducer::Impl::offer(bool background) {
  const Exchange* e = exchange();
  thread.begin(pipeline_order(bucket_count(), e == nullptr ? 0 : e->rounds()), background);
  offered = true;
}

// One more small all-gather, before anything is encoded.
void Reducer::Impl::exact_coefficient() {
  for (int64_t b = 0; b < bucket_count(); ++b)
    squares[static_cast<size_t>(b)] = sum_of_squares(buffers[b].gradient);
  double sum = 0;
  for (double s : group.all_gather_value(total(squares), "clip")) sum += s;
  const double norm = std::sqrt(sum / group.size());
  context.message_scale = std::isfinite(norm) ? coefficient(norm) : 1.0;
}

void Reducer::Impl::encode_again(double true_coefficient) {
  exchange()->rollback();
  optimizer->rollback();
  context.message_scale = true_coefficient;
  offer(false);
  thread.run_rest();
}

Ballot Reducer::Impl::ballot(double loss, bool stop) const {
  const PhasePlan plan = optimizer->next_plan(context.step + 1);
  return {.step = context.step,
          .plan_hash = plan_hash,
          .phase = static_cast<int64_t>(context.plan.phase),
          .residual_epoch = context.plan.residual_epoch,
          .message_scale = context.message_scale,
          .squares = total(squares),
          .loss = loss,
          .next_phase = static_cast<int64_t>(plan.phase),
          .next_residual_epoch = plan.residual_epoch,
          .next_density = plan.density,
          .decide = decider() != nullptr && decider()->due(context.step) ? 1 : 0,
          .stop = stop ? 1 : 0,
          .missing = missing};
}

// Draws from votes and answers, the same on all ranks, whether the step counts.
bool Reducer::Impl::decide(const Tally& result, StepResult& r) {
  r.loss = result.loss;
  r.bad_rank = result.bad_rank;
  r.gradient_norm = result.norm;
  if (result.bad_rank >= 0) return false;
  if (coded()) {
    const double truth = coefficient(result.norm);
    r.reencoded = truth < 0.5 * context.message_scale;
    if (r.reencoded) encode_again(truth);
    r.clip_coefficient = context.message_scale;
  } else {
    r.gradient_norm = std::sqrt(total(answer_squares));
    r.clip_coefficient = context.answer_scale = coefficient(r.gradient_norm);
  }
  return std::isfinite(total(answer_squares));
}

void Reducer::Impl::take(const PhasePlan& following) {
  for (int64_t b = 0; b < bucket_count(); ++b) optimizer->apply(context, b, message(b));
  if (exchange() != nullptr) exchange()->commit();
  optimizer->commit(context, following);
  const bool new_epoch = following.residual_epoch != context.plan.residual_epoch;
  if (new_epoch && compressed) compressed->reset_residuals();
  const bool new_phase = following.phase != context.plan.phase;
  if (new_epoch || (new_phase && !local() && following.phase != Phase::skip)) tell_live();
  if (following.density != context.plan.density) tell_density(following.density);
  next = following;
}

void Reducer::Impl::commit(const Tally& result) {
  take(result.next);
  clip_norm = result.norm;
  skipped = 0;
  missing = 0;
  in_sync = true;
  const StepTimes& times = clock.applied();
  if (decider() != nullptr) decider()->observe(times);
  if (decider() == nullptr || !result.decide) return;
  decider()->decide(context.step + 1);
  tell_compression();
}

// A local step: what other ranks do is not known, and nothing of it is needed.
void Reducer::Impl::take_alone(double loss, StepResult& r) {
  const double norm = std::sqrt(total(squares));
  context.missing = !std::isfinite(norm) || !std::isfinite(loss);
  r.committed = true;
  r.loss = loss;
  r.gradient_norm = norm;
  if (context.missing) {
    ++missing;
    r.bad_rank = group.rank();
  } else {
    r.clip_coefficient = context.message_scale = coefficient(norm);
  }
  take(optimizer->next_plan(context.step + 1));
  in_sync = false;
}

void Reducer::Impl::skip(const StepResult& r) {
  if (exchange() != nullptr) exchange()->rollback();
  optimizer->rollback();
  if (++skipped > options.max_skipped)
    fail(ExitCode::non_finite,
         "step {}: {} steps in a row had gradients that are not finite (last on rank {}); lower "
         "[optim] lr, or resume from an earlier checkpoint",
         context.step, skipped, r.bad_rank);
}

void Reducer::Impl::require_sync(const char* to) const {
  if (in_sync) return;
  fail(ExitCode::usage,
       "asked to {} after local steps, when weights differ by rank; do it after a step whose "
       "StepResult says in_sync",
       to);
}

void Reducer::Impl::tell_density(double density) {
  if (compressed && density > 0) compressed->set_density(density);
}

// Once begun, compression goes on: the optimizer's state has changed its meaning.
void Reducer::Impl::tell_compression() {
  if (decider() == nullptr) return;
  optimizer->allow_compression(decider()->compresses() || next.phase != Phase::dense);
}

void Reducer::Impl::tell_live() {
  if (!compressed) return;
  for (int64_t b = 0; b < bucket_count(); ++b) compressed->set_live(b, optimizer->live(b));
}

Reducer::Reducer(Group group, std::vector<Parameter> parameters,
                 std::shared_ptr<Optimizer> optimizer, std::unique_ptr<Exchange> dense,
                 std::unique_ptr<Exchange> compressed, ReducerOptions options)
    : impl_(std::make_unique<Impl>(std::move(group), std::move(parameters), std::move(optimizer),
                                   std::move(dense), std::move(compressed), options)) {
  TERSE_CHECK(impl_->dense != nullptr, "a dense exchange is always needed");
  impl_->optimizer->attach(plan(), impl_->buffers.tensors());
  impl_->dense->attach(plan());
  if (impl_->compressed) impl_->compressed->attach(plan());
  impl_->tell_compression();
  impl_->agree_on_plan();
  impl_->tell_density(impl_->next.density);
}

Reducer::~Reducer() = default;

void Reducer::begin(int64_t step, double learning_rate) {
  Impl& s = *impl_;
  s.context = {.step = step, .learning_rate = learning_rate, .plan = s.next};
  if (s.coded()) s.context.message_scale = s.coefficient(s.clip_norm);
  s.offered = false;
  s.clock.begin(step);
  s.wire_before = s.group.wire_bytes().total();
}

void Reducer::last_micro_batch() {
  Impl& s = *impl_;
  const bool waits = s.coded() && s.options.clip_exact && s.options.clip > 0;
  const bool quiet = s.decider() != nullptr && s.decider()->quiet(s.context.step);
  const bool overlaps = s.options.overlap && !waits && !quiet;
  if (!overlaps && s.decider() == nullptr) return;
  s.clock.backward(s.bucket_count(), !overlaps);
  s.buffers.arm([&s, overlaps](int64_t bucket) {
    s.clock.ready(bucket);
    if (overlaps) s.thread.ready(bucket);
  });
  if (overlaps) s.offer(true);
}

StepResult Reducer::finish(double local_loss, bool stop) {
  Impl& s = *impl_;
  s.clock.finish();
  s.buffers.disarm();
  s.thread.take_over();
  if (!s.offered) {
    if (s.coded() && s.options.clip_exact && s.options.clip > 0) s.exact_coefficient();
    s.offer(false);
  }
  s.thread.run_rest();
  const at::NoGradGuard no_grad;
  StepResult r;
  r.phase = s.context.plan.phase;
  r.comm_seconds = s.thread.busy_seconds();
  if (s.local()) {
    r.exposed_seconds = s.clock.exposed();
    s.take_alone(local_loss, r);
  } else {
    const Tally result = vote(s.group, s.ballot(local_loss, stop));
    r.stop = result.stop;
    r.missing = result.missing;
    r.committed = s.decide(result, r);
    s.clock.voted();
    r.exposed_seconds = s.clock.exposed();
    if (r.committed)
      s.commit(result);
    else
      s.skip(r);
  }
  s.buffers.zero_gradients();
  r.in_sync = s.in_sync;
  r.wire_bytes = s.group.wire_bytes().total() - s.wire_before;
  r.dense_bytes = fp32_bytes(plan(), s.group);
  return r;
}

const BucketPlan& Reducer::plan() const {
  return impl_->buffers.plan();
}
PhasePlan Reducer::phase() const {
  return impl_->next;
}
bool Reducer::in_sync() const {
  return impl_->in_sync;
}

std::string Reducer::phase_reason() const {
  return impl_->optimizer->reason();
}

double Reducer::residual_norm() const {
  return impl_->compressed ? impl_->compressed->residual_norm() : impl_->dense->residual_norm();
}

int64_t Reducer::encodes() const {
  return impl_->dense->encodes() + (impl_->compressed ? impl_->compressed->encodes() : 0);
}

std::vector<ExchangeDecision> Reducer::take_decisions() {
  return (impl_->compressed ? impl_->compressed : impl_->dense)->take_decisions();
}

at::Tensor Reducer::rounded(const std::string& name) const {
  return impl_->buffers.rounded(name);
}

void Reducer::check_replicas() {
  impl_->require_sync("compare replicas");
  compare_replicas(impl_->group, plan(), impl_->buffers.tensors());
}

void Reducer::save(StateWriter& state) const {
  const Impl& s = *impl_;
  s.require_sync("save");
  state.value(Scope::shared, "reducer/plan", plan().text());
  state.value(Scope::shared, "reducer/phase", static_cast<int64_t>(s.next.phase));
  state.value(Scope::shared, "reducer/residual_epoch", s.next.residual_epoch);
  state.value(Scope::shared, "reducer/density", s.next.density);
  state.value(Scope::shared, "reducer/clip_norm", s.clip_norm);
  state.value(Scope::shared, "reducer/skipped", s.skipped);
  s.optimizer->save(state);
  s.dense->save(state);
  if (s.compressed) s.compressed->save(state);
}

void Reducer::load(const StateReader& state) {
  Impl& s = *impl_;
  const at::NoGradGuard no_grad;
  const BucketPlan saved = BucketPlan::parse(state.require_text(Scope::shared, "reducer/plan"));
  if (saved.hash() != s.plan_hash)
    fail(ExitCode::invalid_file,
         "the checkpoint's bucket plan ({} buckets) is not this run's ({} buckets): the model or "
         "the "
         "bucket size has changed; resume with the run's own recipe",
         saved.buckets.size(), plan().buckets.size());
  const int64_t phase = state.require_integer(Scope::shared, "reducer/phase");
  if (phase < 0 || phase > static_cast<int64_t>(Phase::codec))
    fail(ExitCode::invalid_file, "the checkpoint's phase is {}", phase);
  s.next = {static_cast<Phase>(phase),
            state.require_integer(Scope::shared, "reducer/residual_epoch"),
            state.require_number(Scope::shared, "reducer/density")};
  s.tell_density(s.next.density);
  s.clip_norm = state.require_number(Scope::shared, "reducer/clip_norm");
  s.skipped = state.require_integer(Scope::shared, "reducer/skipped");
  s.in_sync = true;
  s.missing = 0;
  s.optimizer->load(state);
  s.dense->load(state);
  if (s.compressed) s.compressed->load(state);
  s.tell_compression();
  s.tell_live();
  for (const BucketTensors& t : s.buffers.tensors())
    if (t.rounded.defined()) t.rounded.copy_(t.value);
}

}  // namespace terse
