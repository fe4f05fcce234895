#include "parallel/data_parallel.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <span>

#include "base/checksum.h"
#include "base/error.h"
#include "comm/tensor_state.h"
#include "optim/make_reducer.h"
#include "optim/schedule.h"
#include "parallel/module_tensors.h"
#include "parallel/options_text.h"
#include "trainer/checkpoint/checkpoint.h"

namespace terse {
namespace {

// Error(usage) with everything that is wrong; else what ranks compare.
std::string checked(const DataParallelOptions& options) {
  OptionsText text;
  text.add("optim", options.optim);
  text.add("exchange", options.exchange);
  std::string problems = text.problems();
  if (options.steps < 1)
    problems +=
        fmt::format("\n  steps: {} of the whole run; say how many will be taken", options.steps);
  if (!problems.empty()) fail(ExitCode::usage, "wrong options of DataParallel:{}", problems);
  const ReducerOptions& r = options.reducer;
  return text.text() + fmt::format("steps = {}\nreducer = {} {} {} {}\n", options.steps,
                                   r.bucket_bytes, r.clip, r.clip_exact, r.max_skipped);
}

Connection connect_for(const ModuleTensors& model, const DataParallelOptions& options) {
  checked(options);  // before anybody waits for anybody
  ConnectOptions connect_options = options.connect;
  connect_options.timeout_s = options.exchange.timeout_s;
  connect_options.device = model.device.is_cuda() ? "cuda" : "cpu";
  return connect(connect_options);
}

// Names, shapes and options: what must be equal before anything is sent.
uint64_t fingerprint(const ModuleTensors& model, const DataParallelOptions& options) {
  std::string text = checked(options);
  const auto add = [&](const std::string& name, const at::Tensor& tensor) {
    text += fmt::format("{} {} {}\n", name, at::toString(tensor.scalar_type()),
                        fmt::join(tensor.sizes(), "x"));
  };
  for (const Parameter& p : model.trainable) add(p.name, p.value);
  for (const NamedTensor& t : model.frozen) add(t.name, t.tensor);
  for (const NamedTensor& t : model.buffers) add(t.name, t.tensor);
  return checksum(std::as_bytes(std::span(text)));
}

void copy_from_root(Group& group, at::Tensor tensor, const std::string& name) {
  const at::NoGradGuard no_grad;
  at::Tensor flat = tensor.detach().contiguous();
  if (group.size() == 1 || flat.numel() == 0) return;
  group.broadcast(flat, 0, name).wait();
  if (flat.data_ptr() != tensor.data_ptr()) tensor.detach().copy_(flat);
}

// Checks that ranks agree on the model and gives all of them rank 0's values.
ModuleTensors agreed(Group& group, ModuleTensors model, const DataParallelOptions& options) {
  require_same(group, fingerprint(model, options), "model or options (DataParallel)");
  for (const Parameter& p : model.trainable) copy_from_root(group, p.value, p.name);
  for (const NamedTensor& t : model.frozen) copy_from_root(group, t.tensor, t.name);
  for (const NamedTensor& t : model.buffers) copy_from_root(group, t.tensor, t.name);
  return model;
}

}  // namespace

struct DataParallel::Impl {
  Impl(ModuleTensors m, Group g, DataParallelOptions o, int64_t ranks_per_node)
      : options(std::move(o)),
        group(std::move(g)),
        model(agreed(group, std::move(m), options)),
        reducer(make_reducer(group, model.trainable, options.optim, options.exchange,
                             {options.steps, model.device, ranks_per_node}, options.reducer)) {}

  double rate(int64_t step) const {
    return options.learning_rate ? options.learning_rate(step)
                                 : learning_rate(options.optim, step, options.steps);
  }
  // Before anything is under way.
  void check(const at::Tensor& loss) const {
    if (!loss.defined() || loss.numel() != 1 || !loss.requires_grad())
      fail(ExitCode::usage,
           "step {}: DataParallel needs a loss of one element that was computed from the model's "
           "parameters",
           taken + 1);
  }

  DataParallelOptions options;
  Group group;
  ModuleTensors model;
  Reducer reducer;
  int64_t taken = 0;
  int64_t saved = -1;  // the step of the newest checkpoint
  double local = 0;    // loss of the micro-batches so far
};

DataParallel::DataParallel(torch::nn::Module& model, DataParallelOptions options) {
  ModuleTensors tensors = tensors_of(model);
  Connection connection = connect_for(tensors, options);
  impl_ = std::make_unique<Impl>(std::move(tensors), connection.group, std::move(options),
                                 connection.world.local_size);
}

DataParallel::DataParallel(torch::nn::Module& model, Group group, DataParallelOptions options)
    : impl_(std::make_unique<Impl>(tensors_of(model), std::move(group), std::move(options), 1)) {}

DataParallel::~DataParallel() = default;

int DataParallel::rank() const {
  return impl_->group.rank();
}
int DataParallel::ranks() const {
  return impl_->group.size();
}
Group DataParallel::group() const {
  return impl_->group;
}
int64_t DataParallel::steps_taken() const {
  return impl_->taken;
}
const Reducer& DataParallel::reducer() const {
  return impl_->reducer;
}

void DataParallel::accumulate(const at::Tensor& loss) {
  impl_->check(loss);
  loss.backward();
  impl_->local += loss.item<double>();
}

StepResult DataParallel::step(const at::Tensor& loss) {
  Impl& s = *impl_;
  s.check(loss);
  const int64_t step = s.taken + 1;
  s.reducer.begin(step, s.rate(step));
  s.reducer.last_micro_batch();
  loss.backward();
  const double local = s.local + loss.item<double>();
  s.local = 0;
  s.taken = step;
  return s.reducer.finish(local);
}

double DataParallel::sum(double own) const {
  double total = 0;
  for (const double part : Group(impl_->group).all_gather_value(own, "sum")) total += part;
  return total;
}

void DataParallel::sync_buffers() {
  for (const NamedTensor& t : impl_->model.buffers) copy_from_root(impl_->group, t.tensor, t.name);
}

void DataParallel::check_replicas() {
  impl_->reducer.check_replicas();
}

void DataParallel::save(const std::string& folder, int64_t keep) {
  Impl& s = *impl_;
  if (s.saved == s.taken) return;
  check_replicas();
  sync_buffers();
  CheckpointWriter writer(
      FileSystem::real(), folder, s.taken, rank(),
      [&s](const CheckpointPart& part) { return s.group.all_gather_value(part, "checkpoint"); });
  const auto put = [&](const std::string& name, const at::Tensor& tensor) {
    writer.tensor(Scope::shared, name, host_view(writer, tensor));
  };
  for (const Parameter& p : s.model.trainable) put("model/" + p.name, p.value);
  for (const NamedTensor& t : s.model.frozen) put("model/" + t.name, t.tensor);
  for (const NamedTensor& t : s.model.buffers) put("buffer/" + t.name, t.tensor);
  s.reducer.save(writer);
  writer.value(Scope::shared, "parallel/step", s.taken);
  writer.commit(keep);
  s.saved = s.taken;
}

bool DataParallel::load(const std::string& folder) {
  Impl& s = *impl_;
  if (s.taken > 0)
    fail(ExitCode::usage, "load() belongs before the first step; {} were taken", s.taken);
  if (rank() == 0) remove_unfinished_checkpoints(FileSystem::real(), folder);
  CheckpointSearch search = newest_checkpoint(folder, rank());
  const int64_t step = search.found ? search.found->step() : -1;
  require_same(s.group, static_cast<uint64_t>(step), "newest checkpoint");
  if (!search.found && !search.rejected.empty())
    fail(ExitCode::invalid_file, "{}: no checkpoint verifies: {}", folder,
         fmt::join(search.rejected, "; "));
  if (!search.found) return false;
  const Checkpoint& state = *search.found;
  for (const Parameter& p : s.model.trainable) load_tensor(state, "model/" + p.name, p.value);
  for (const NamedTensor& t : s.model.frozen) load_tensor(state, "model/" + t.name, t.tensor);
  for (const NamedTensor& t : s.model.buffers) load_tensor(state, "buffer/" + t.name, t.tensor);
  s.reducer.load(state);
  s.taken = s.saved = state.require_integer(Scope::shared, "parallel/step");
  return true;
}

}  // namespace terse
