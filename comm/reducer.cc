#include "comm/reducer.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "base/error.h"
#include "comm/reducer_impl.h"
#include "comm/reducer_replicas.h"

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

}  // namespace

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
  s.run_tail();
  const at::NoGradGuard no_grad;
  StepResult r;
  r.phase = s.context.plan.phase;
  r.comm_seconds = s.thread.busy_seconds();
  if (s.local())
    s.take_alone(local_loss, r);
  else
    s.take_together(local_loss, stop, r);
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

VarianceFreeze Reducer::variance_freeze() const {
  return impl_->optimizer->variance_freeze();
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
