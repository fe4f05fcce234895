#include "trainer/session.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <iterator>
#include <limits>
#include <optional>
#include <utility>

#include "base/checksum.h"
#include "base/error.h"
#include "comm/connect.h"
#include "optim/make_reducer.h"
#include "optim/schedule.h"
#include "trainer/snapshot.h"
#include "trainer/tensors.h"

namespace terse {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

BatcherOptions batcher_options(const Recipe& recipe, const Group& group) {
  return {recipe.train.examples(recipe.model.targets()), static_cast<uint64_t>(recipe.train.seed),
          group.rank(), group.size()};
}

Reducer reducer_of(const Recipe& recipe, const Group& group, Model& model, at::Device device,
                   int64_t ranks_per_node) {
  ReducerOptions options;
  options.clip = recipe.train.clip;
  options.clip_exact = recipe.train.clip_exact;
  options.max_skipped = recipe.train.max_skipped;
  return make_reducer(group, model.parameters(), recipe.optim, recipe.exchange,
                      {recipe.train.steps, device, ranks_per_node}, options);
}

std::string pattern_of(const MaskState& state) {
  return state.masked ? to_string(state.pattern) : "";
}

std::string_view phase_name(Phase phase) {
  return phase == Phase::dense ? "dense" : phase == Phase::codec ? "codec" : "skip";
}

}  // namespace

at::ScalarType compute_type(const TrainOptions& options) {
  return options.compute == "fp32" ? at::kFloat : at::kBFloat16;
}

ComputeOptions compute_options(const TrainOptions& options, at::Device device) {
  ComputeOptions compute;
  compute.type = compute_type(options);
  compute.recompute = options.recompute;
  compute.device = device;
  return compute;
}

Session::Session(const Recipe& recipe, Group group, const DataFiles& data, at::Device device,
                 int restart, int64_t ranks_per_node)
    : recipe_(recipe),
      group_(std::move(group)),
      faults_(group_.rank(), restart),
      data_(data),
      train_(data.training(recipe.model.llama.context)),
      valid_(data.validation(recipe.model.llama.context)),
      model_(make_model(recipe, data, compute_options(recipe.train, device))),
      teacher_(make_teacher(recipe.distill, shape_of(recipe.model, data),
                            compute_options(recipe.train, device))),
      batcher_(*train_, batcher_options(recipe, group_)),
      reducer_(reducer_of(recipe, group_, *model_, device, ranks_per_node)) {
  if (teacher_) require_same(group_, teacher_->checksum(), "teacher");
  calibrate();
  model_->refresh(step_);
}

// On the first sequences of the run, which every rank can read; rank 0's result counts, since
// another processor may round otherwise. A checkpoint overwrites it.
void Session::calibrate() {
  BatcherOptions options = batcher_options(recipe_, group_);
  options.rank = 0;
  options.ranks = options.rows;  // one example
  const Batch first = Batcher(*train_, options).next();
  if (!model_->calibrate(token_tensor(first))) return;
  const at::NoGradGuard no_grad;
  for (const Parameter& parameter : model_->parameters())
    if (parameter.name.ends_with("input_log_step"))
      group_.broadcast(parameter.value.detach(), 0, "calibrate").wait();
}

template <typename Use>
void Session::served(const Use& use) {
  if (model_->masked()) model_->refresh(kServed);
  use();
  if (model_->masked()) model_->refresh(step_);
}

at::Tensor Session::loss(const at::Tensor& batch) {
  return teacher_ ? teacher_->loss(*model_, batch) : model_->loss(batch);
}

// Micro-batches of this rank's share; the mean loss of the share.
double Session::accumulate(const Batch& batch, bool poisoned) {
  const at::Tensor examples = token_tensor(batch).to(model_->device());
  const int64_t micro = recipe_.train.micro_examples(recipe_.model.targets(), group_.size());
  double sum = 0;
  for (int64_t at = 0; at < batch.rows; at += micro) {
    const int64_t rows = std::min(micro, batch.rows - at);
    const double share = static_cast<double>(rows) / static_cast<double>(batch.rows);
    at::Tensor loss = this->loss(examples.narrow(0, at, rows)).mul(share);
    if (poisoned) loss = loss.mul(std::numeric_limits<double>::quiet_NaN());
    if (at + rows == batch.rows) reducer_.last_micro_batch();
    loss.backward();
    sum += loss.item<double>();
  }
  return sum;
}

// Masks that wait for the variance begin at the step after which it stays.
void Session::follow_variance() {
  if (recipe_.sparsity.dense != kUntilFrozen) return;
  const VarianceFreeze freeze = reducer_.variance_freeze();
  if (freeze.step >= 0) model_->set_dense_steps(freeze.step);
}

// What this step's forward multiplied with; where the next one's stage or pattern is another, that
// is a decision of this step.
void Session::describe_masks(const MaskState& forward, StepRecord& record) {
  const MaskProgress now = model_->mask_progress();
  record.stage = stage_name(forward.stage);
  record.pattern = pattern_of(forward);
  record.beta = forward.beta;
  record.mask_changed =
      static_cast<double>(now.changed) / static_cast<double>(std::max<int64_t>(now.elements, 1));
  const auto text = [](const MaskState& m) -> std::string {
    if (!m.masked) return stage_name(m.stage);
    // A share that grows with every step is no news at each.
    return fmt::format("{} {}", stage_name(m.stage),
                       m.pattern.unstructured() ? "unstructured" : pattern_of(m));
  };
  if (text(forward) != text(now.state))
    decisions_.push_back({"masks", text(now.state), fmt::format("{} until then", text(forward))});
}

std::vector<ExchangeDecision> Session::take_decisions() {
  std::vector<ExchangeDecision> all = reducer_.take_decisions();
  std::ranges::move(std::exchange(decisions_, {}), std::back_inserter(all));
  return all;
}

// Reading all residuals takes a few per cent of a step: not in each.
double Session::residual_norm(Phase phase) {
  if (phase != Phase::codec) return 0;
  const bool due = step_ % kResidualEvery == 0 || step_ >= recipe_.train.steps;
  if (due || residual_norm_ == 0) residual_norm_ = reducer_.residual_norm();
  return residual_norm_;
}

StepRecord Session::train_step(bool stop) {
  const auto start = Clock::now();
  StepRecord record;
  std::optional<MaskState> forward;
  if (model_->masked()) forward = model_->mask_progress().state;
  const bool frozen = reducer_.variance_freeze().step >= 0;
  record.step = ++step_;
  record.learning_rate = learning_rate(recipe_.optim, step_, recipe_.train.steps);
  reducer_.begin(step_, record.learning_rate);
  const Batch batch = batcher_.next();
  const double local = accumulate(batch, faults_.strike(step_));
  const StepResult result = reducer_.finish(local, stop);
  stop_agreed_ = result.stop;
  missing_ = result.missing;
  if (result.committed) model_->after_step(record.learning_rate);
  if (const VarianceFreeze freeze = reducer_.variance_freeze(); freeze.step >= 0 && !frozen) {
    decisions_.push_back({"variance", "frozen", freeze.reason});
    follow_variance();
  }
  // Masks follow the steps, skipped ones too.
  if (result.committed || model_->masked()) model_->refresh(step_);

  record.loss = result.loss;
  record.gradient_norm = result.gradient_norm;
  record.clip = result.clip_coefficient;
  const int64_t targets = recipe_.model.targets();
  record.tokens = recipe_.train.examples(targets) * targets;
  record.exposed_seconds = result.exposed_seconds;
  record.wire_bytes = result.wire_bytes;
  record.dense_bytes = result.dense_bytes;
  record.phase = phase_name(result.phase);
  record.residual_norm = residual_norm(result.phase);
  record.skipped = !result.committed;
  record.bad_rank = result.bad_rank;
  record.reencoded = result.reencoded;
  if (forward) describe_masks(*forward, record);
  record.seconds = seconds_since(start);
  record.tokens_per_second = static_cast<double>(record.tokens) / record.seconds;
  return record;
}

EvalRecord Session::evaluate_now(int64_t examples) {
  EvalRecord record;
  served([&] { record = evaluate_record(*model_, *valid_, group_, examples); });
  record.step = step_;
  return record;
}

EvalRecord evaluate_record(Model& model, const Examples& valid, const Group& group,
                           int64_t examples, const std::function<void()>& between) {
  const auto start = Clock::now();
  EvaluateOptions options;
  options.examples = examples;
  options.between = between;
  const Evaluation result = evaluate(model, valid, group, options);
  EvalRecord record;
  record.loss = result.loss;
  record.perplexity = result.perplexity;
  record.accuracy = result.accuracy;
  record.tokens = result.tokens;
  record.seconds = seconds_since(start);
  return record;
}

void Session::save(StateWriter& state) {
  served([&] { save_model(*model_, state); });
  reducer_.save(state);
  state.value(Scope::shared, "trainer/step", step_);
  state.value(Scope::shared, "trainer/cursor", batcher_.cursor());
  state.value(Scope::shared, "trainer/data", fmt::format("{:016x}", train_->checksum()));
  if (data_.image) save_image(*data_.image, state);
  if (teacher_) state.value(Scope::shared, "trainer/teacher", checksum_hex(teacher_->checksum()));
  // Nothing in training draws from the global generator; it is kept for models that will.
  auto random = std::make_shared<at::Tensor>(at::detail::getDefaultCPUGenerator().get_state());
  state.keep(random);
  state.tensor(
      Scope::own, "trainer/random",
      {DType::u8, {random->numel()}, bytes_of(random->const_data_ptr<uint8_t>(), random->numel())});
}

void Session::load(const StateReader& state) {
  const std::string data = fmt::format("{:016x}", train_->checksum());
  if (state.require_text(Scope::shared, "trainer/data") != data)
    fail(ExitCode::invalid_file,
         "{}: not the data that the checkpoint was trained on (checksum {}, expected {}); prepare "
         "it from the same source, or start a new run",
         train_->path(), data, state.require_text(Scope::shared, "trainer/data"));
  if (teacher_) teacher_->require_saved(state);
  load_model(*model_, state);
  reducer_.load(state);
  follow_variance();
  step_ = state.require_integer(Scope::shared, "trainer/step");
  batcher_.seek(state.require_integer(Scope::shared, "trainer/cursor"));
  model_->refresh(step_);
  if (const auto random = state.tensor(Scope::own, "trainer/random")) {
    at::Tensor bytes = at::empty({random->numel()}, at::kByte);
    std::copy(random->as<uint8_t>().begin(), random->as<uint8_t>().end(),
              bytes.data_ptr<uint8_t>());
    at::Generator generator = at::detail::getDefaultCPUGenerator();
    generator.set_state(bytes);
  }
}

}  // namespace terse
