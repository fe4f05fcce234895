#include "trainer/lab/optimize/lab_optimize.h"

#include <ATen/ATen.h>

#include <charconv>
#include <cstring>
#include <map>
#include <optional>

#include "base/error.h"
#include "base/file_system.h"
#include "base/state.h"
#include "comm/reducer.h"
#include "export/safetensors.h"
#include "optim/make_reducer.h"
#include "optim/schedule.h"
#include "trainer/lab/ranked_path.h"

namespace terse {
namespace {

struct Input {
  std::map<std::string, at::Tensor> values;
  std::map<int64_t, std::map<std::string, at::Tensor>> gradients;  // by step
};

at::Tensor tensor_of(const SafetensorsFile& file, const std::string& name) {
  const TensorView view = file.require(name);
  if (view.dtype != DType::f32)
    fail(ExitCode::invalid_file, "{}: tensor '{}' is {}; lab optimize takes F32", file.path(), name,
         dtype_name(view.dtype));
  at::Tensor tensor = at::empty(view.shape, at::kFloat);
  std::memcpy(tensor.mutable_data_ptr(), view.data.data(), view.data.size());
  return tensor;
}

// The STEP of "NAME@STEP".
int64_t step_of(const SafetensorsFile& file, const std::string& name, size_t at) {
  int64_t step = -1;
  const char* end = name.data() + name.size();
  const auto r = std::from_chars(name.data() + at + 1, end, step);
  if (r.ec != std::errc() || r.ptr != end || step < 0)
    fail(ExitCode::invalid_file, "{}: tensor '{}' is no NAME@STEP", file.path(), name);
  return step;
}

Input read(const std::string& path) {
  const SafetensorsFile file(path);
  Input input;
  for (const std::string& name : file.names()) {
    const size_t at = name.rfind('@');
    if (at == std::string::npos)
      input.values[name] = tensor_of(file, name);
    else
      input.gradients[step_of(file, name, at)][name.substr(0, at)] = tensor_of(file, name);
  }
  if (input.values.empty() || input.gradients.empty())
    fail(ExitCode::invalid_file, "{}: needs start values NAME and gradients NAME@STEP", path);
  const int64_t first = input.gradients.begin()->first;
  int64_t expected = first;
  for (const auto& [step, gradients] : input.gradients) {
    if (step != expected++)
      fail(ExitCode::invalid_file, "{}: has steps {} and {}, but none between", path, expected - 2,
           step);
    for (const auto& [name, gradient] : gradients)
      if (!input.values.contains(name) || input.values[name].sizes() != gradient.sizes())
        fail(ExitCode::invalid_file, "{}: gradient '{}@{}' has no start value of its shape", path,
             name, step);
  }
  return input;
}

class Log {
 public:
  void add(double learning_rate, const StepResult& r) {
    static constexpr const char* kPhases[] = {"skip", "dense", "codec"};
    append("phase", fmt::format("\"{}\"", kPhases[static_cast<size_t>(r.phase)]));
    append("learning_rate", fmt::format("{}", learning_rate));
    append("clip_coefficient", fmt::format("{}", r.clip_coefficient));
    append("committed", r.committed ? "true" : "false");
    append("wire_bytes", fmt::format("{}", r.wire_bytes));
  }
  Metadata metadata() const {
    Metadata all;
    for (const auto& [key, items] : lists_) all[key] = "[" + items + "]";
    return all;
  }

 private:
  void append(const std::string& key, const std::string& item) {
    std::string& list = lists_[key];
    list += (list.empty() ? "" : ", ") + item;
  }
  std::map<std::string, std::string> lists_;
};

class Output {
 public:
  void add(const std::string& name, const at::Tensor& tensor) {
    tensors_[name] = tensor.detach().contiguous().clone();
  }
  // The state under `prefix`NAME as NAME`suffix`.
  void add_state(const MemoryState& state, const Parameter& p, Scope scope,
                 const std::string& prefix, const std::string& suffix) {
    const std::optional<TensorView> view = state.tensor(scope, prefix + p.name, -1);
    if (!view) return;
    at::Tensor tensor = at::empty(p.value.sizes(), at::kFloat);
    TERSE_CHECK(view->data.size() == tensor.nbytes(), "state of '{}'", p.name);
    std::memcpy(tensor.mutable_data_ptr(), view->data.data(), view->data.size());
    tensors_[p.name + suffix] = tensor;
  }
  void write(const std::string& path, Metadata metadata) const {
    std::map<std::string, TensorView> views;
    for (const auto& [name, t] : tensors_)
      views[name] = {DType::f32, t.sizes().vec(), bytes_of(t.const_data_ptr<float>(), t.numel())};
    write_safetensors(FileSystem::real(), path, views, std::move(metadata));
  }

 private:
  std::map<std::string, at::Tensor> tensors_;
};

std::vector<Parameter> parameters_of(const Input& input) {
  std::vector<Parameter> parameters;
  for (const auto& [name, value] : input.values)
    parameters.push_back({name, value.clone().requires_grad_(true), value.dim() >= 2});
  return parameters;
}

}  // namespace

void lab_optimize(const LabOptimizeOptions& options, const Group& group) {
  const Input input = read(ranked_path(options.in, group.rank()));
  const std::vector<Parameter> parameters = parameters_of(input);
  const auto steps = static_cast<int64_t>(input.gradients.size());
  ReducerOptions reducer_options;
  reducer_options.clip = options.train.clip;
  Reducer reducer =
      make_reducer(group, parameters, options.optim, options.exchange,
                   {.steps = steps, .ranks_per_node = options.ranks_per_node}, reducer_options);
  Output output;
  Log log;
  int64_t number = 0;
  for (const auto& [label, gradients] : input.gradients) {
    const double lr = learning_rate(options.optim, ++number, steps);
    reducer.begin(number, lr);
    for (const Parameter& p : parameters)
      if (const auto g = gradients.find(p.name); g != gradients.end())
        p.value.grad().copy_(g->second);
    log.add(lr, reducer.finish(0));
    for (const Parameter& p : parameters) output.add(fmt::format("{}@{}", p.name, label), p.value);
  }
  MemoryState state(group.size());
  reducer.save(state);
  for (const Parameter& p : parameters) {
    output.add_state(state, p, Scope::shared, "optim/m/", ".m");
    output.add_state(state, p, Scope::shared, "optim/v/", ".v");
    output.add_state(state, p, Scope::shared, "optim/vhat/", ".vhat");
    output.add_state(state, p, Scope::own, "optim/u/", ".u");
    output.add_state(state, p, Scope::own, "exchange/residual/", ".residual");
  }
  if (group.rank() == 0 || options.out.find("{rank}") != std::string::npos)
    output.write(ranked_path(options.out, group.rank()), log.metadata());
}

}  // namespace terse
