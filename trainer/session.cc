#include "trainer/session.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <fmt/format.h>

#include <chrono>
#include <limits>

#include "base/error.h"
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

LlamaOptions with_vocab(LlamaOptions options, int64_t vocab) {
  options.vocab = vocab;
  return options;
}

BatcherOptions batcher_options(const Recipe& recipe, const Group& group, int64_t begin) {
  return {recipe.model.context,
          recipe.train.sequences(recipe.model.context),
          static_cast<uint64_t>(recipe.train.seed),
          begin,
          group.rank(),
          group.size()};
}

Reducer reducer_of(const Recipe& recipe, const Group& group, Llama& model, at::Device device,
                   int64_t ranks_per_node) {
  ReducerOptions options;
  options.clip = recipe.train.clip;
  options.clip_exact = recipe.train.clip_exact;
  options.max_skipped = recipe.train.max_skipped;
  return make_reducer(group, model.parameters(), recipe.optim, recipe.exchange,
                      {recipe.train.steps, device, ranks_per_node}, options);
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
      group_(group),
      faults_(group.rank(), restart),
      train_(data.train),
      valid_(data.valid),
      data_(data),
      model_(with_vocab(recipe.model, data.vocab), recipe.qat,
             compute_options(recipe.train, device), static_cast<uint64_t>(recipe.train.seed),
             {recipe.sparsity, recipe.train.steps}),
      batcher_(train_, batcher_options(recipe, group, data.begin)),
      reducer_(reducer_of(recipe, group, model_, device, ranks_per_node)) {
  model_.refresh(step_);
}

template <typename Use>
void Session::served(const Use& use) {
  if (model_.masked()) model_.refresh(kServed);
  use();
  if (model_.masked()) model_.refresh(step_);
}

// Micro-batches of this rank's share; the mean loss of the share.
double Session::accumulate(const Batch& batch, bool poisoned) {
  const at::Device device = model_.parameters().front().value.device();
  const at::Tensor tokens = token_tensor(batch).to(device);
  const int64_t micro = recipe_.train.micro_sequences(recipe_.model.context, group_.size());
  double sum = 0;
  for (int64_t at = 0; at < batch.rows; at += micro) {
    const int64_t rows = std::min(micro, batch.rows - at);
    const double share = static_cast<double>(rows) / static_cast<double>(batch.rows);
    at::Tensor loss = model_.loss(tokens.narrow(0, at, rows)).mul(share);
    if (poisoned) loss = loss.mul(std::numeric_limits<double>::quiet_NaN());
    if (at + rows == batch.rows) reducer_.last_micro_batch();
    loss.backward();
    sum += loss.item<double>();
  }
  return sum;
}

StepRecord Session::train_step(bool stop) {
  const auto start = Clock::now();
  StepRecord record;
  record.step = ++step_;
  record.learning_rate = learning_rate(recipe_.optim, step_, recipe_.train.steps);
  reducer_.begin(step_, record.learning_rate);
  const Batch batch = batcher_.next();
  const double local = accumulate(batch, faults_.strike(step_));
  const StepResult result = reducer_.finish(local, stop);
  stop_agreed_ = result.stop;
  missing_ = result.missing;
  if (result.committed) model_.after_step(record.learning_rate);
  // Masks follow the steps, skipped ones too.
  if (result.committed || model_.masked()) model_.refresh(step_);

  record.loss = result.loss;
  record.gradient_norm = result.gradient_norm;
  record.clip = result.clip_coefficient;
  record.tokens = recipe_.train.sequences(recipe_.model.context) * recipe_.model.context;
  record.exposed_seconds = result.exposed_seconds;
  record.wire_bytes = result.wire_bytes;
  record.dense_bytes = result.dense_bytes;
  record.phase = phase_name(result.phase);
  record.residual_norm = result.phase == Phase::codec ? reducer_.residual_norm() : 0;
  record.skipped = !result.committed;
  record.bad_rank = result.bad_rank;
  record.reencoded = result.reencoded;
  record.seconds = seconds_since(start);
  record.tokens_per_second = static_cast<double>(record.tokens) / record.seconds;
  return record;
}

EvalRecord Session::evaluate_now(int64_t windows) {
  EvalRecord record;
  served([&] { record = evaluate_record(model_, valid_, group_, windows, data_.begin); });
  record.step = step_;
  return record;
}

EvalRecord evaluate_record(Llama& model, const TokenShard& valid, Group group, int64_t windows,
                           int64_t begin, const std::function<void()>& between) {
  const auto start = Clock::now();
  EvaluateOptions options;
  options.windows = windows;
  options.begin = begin;
  options.between = between;
  const Evaluation result = evaluate(model, valid, group, options);
  EvalRecord record;
  record.loss = result.loss;
  record.perplexity = result.perplexity;
  record.tokens = result.tokens;
  record.seconds = seconds_since(start);
  return record;
}

void Session::save(StateWriter& state) {
  served([&] { save_model(model_, state); });
  reducer_.save(state);
  state.value(Scope::shared, "trainer/step", step_);
  state.value(Scope::shared, "trainer/cursor", batcher_.cursor());
  state.value(Scope::shared, "trainer/data", fmt::format("{:016x}", train_.checksum()));
  // Nothing in training draws from the global generator; it is kept for models that will.
  auto random = std::make_shared<at::Tensor>(at::detail::getDefaultCPUGenerator().get_state());
  state.keep(random);
  state.tensor(
      Scope::own, "trainer/random",
      {DType::u8, {random->numel()}, bytes_of(random->const_data_ptr<uint8_t>(), random->numel())});
}

void Session::load(const StateReader& state) {
  const std::string data = fmt::format("{:016x}", train_.checksum());
  if (state.require_text(Scope::shared, "trainer/data") != data)
    fail(ExitCode::invalid_file,
         "{}: not the data that the checkpoint was trained on (checksum {}, expected {}); prepare "
         "it "
         "from the same text, or start a new run",
         train_.path(), data, state.require_text(Scope::shared, "trainer/data"));
  load_model(model_, state);
  reducer_.load(state);
  step_ = state.require_integer(Scope::shared, "trainer/step");
  batcher_.seek(state.require_integer(Scope::shared, "trainer/cursor"));
  model_.refresh(step_);
  if (const auto random = state.tensor(Scope::own, "trainer/random")) {
    at::Tensor bytes = at::empty({random->numel()}, at::kByte);
    std::copy(random->as<uint8_t>().begin(), random->as<uint8_t>().end(),
              bytes.data_ptr<uint8_t>());
    at::Generator generator = at::detail::getDefaultCPUGenerator();
    generator.set_state(bytes);
  }
}

}  // namespace terse
