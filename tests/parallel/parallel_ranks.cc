// What several ranks must agree on; run by data_parallel_test.cc:
//   parallel_ranks train FOLDER | options
#include <ATen/core/grad_mode.h>
#include <torch/nn.h>
#include <torch/optim/adamw.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <tuple>

#include "base/error.h"
#include "comm/connect.h"
#include "parallel/data_parallel.h"

namespace terse {
namespace {

void expect(bool condition, const std::string& what) {
  if (!condition) throw std::runtime_error(what);
}

// A convolution, running statistics, a matrix under two names, a frozen parameter, one that no
// gradient reaches.
struct Net : torch::nn::Module {
  torch::nn::Conv2d conv{torch::nn::Conv2dOptions(1, 4, 3).padding(1)};
  torch::nn::BatchNorm2d norm{4};
  torch::nn::Linear hidden{torch::nn::LinearOptions(16, 16).bias(false)};
  torch::nn::Linear out{16, 3};
  at::Tensor frozen, unused;

  explicit Net(uint64_t seed) {
    register_module("conv", conv);
    register_module("norm", norm);
    register_module("hidden", hidden);
    register_module("out", out);
    register_parameter("again", hidden->weight);
    frozen = register_parameter("frozen", at::zeros({3}), false);
    unused = register_parameter("unused", at::zeros({5, 7}));
    torch::manual_seed(seed);
    const at::NoGradGuard no_grad;
    for (at::Tensor& p : parameters()) p.copy_(at::randn(p.sizes()).mul(0.3));
    for (const at::Tensor& b : buffers())
      if (b.is_floating_point()) b.copy_(at::rand(b.sizes()).add(0.5));
  }
  at::Tensor forward(const at::Tensor& x) {
    const at::Tensor y = at::relu(norm(conv(x)));
    const at::Tensor pooled = at::avg_pool2d(y, 2).flatten(1);
    return out(at::tanh(hidden(hidden(pooled)))) + frozen;
  }
  at::Tensor flat() const {
    std::vector<at::Tensor> all;
    for (const at::Tensor& p : parameters()) all.push_back(p.detach().flatten());
    for (const at::Tensor& b : buffers()) all.push_back(b.flatten().to(at::kFloat));
    return at::cat(all).clone();
  }
};

struct Batch {
  at::Tensor x, y;
};
// Sixteen samples, shared out evenly.
Batch batch(int64_t step, int64_t rank, int64_t ranks) {
  torch::manual_seed(static_cast<uint64_t>(1000 + step));
  const at::Tensor x = at::randn({16, 1, 4, 4}), y = at::randint(3, {16}, at::kLong);
  const int64_t share = 16 / ranks;
  return {x.narrow(0, rank * share, share), y.narrow(0, rank * share, share)};
}
at::Tensor loss_of(Net& net, const Batch& b) {
  return at::cross_entropy_loss(net.forward(b.x), b.y);
}

DataParallelOptions options_of(const std::string& optimizer, const std::string& codec) {
  DataParallelOptions o;
  o.steps = 40;
  o.optim = {.name = optimizer, .lr = 1e-2, .weight_decay = 0, .freeze = 5};
  o.exchange.codec = codec;
  if (codec == "topk") o.exchange.density = 0.1;
  o.reducer.bucket_bytes = 512;  // several buckets
  return o;
}

// LibTorch's own AdamW on the whole batch, one process.
at::Tensor reference() {
  Net net(1);
  net.norm->eval();                 // a batch's own statistics are not the mean of its parts'
  std::vector<at::Tensor> weights;  // each once
  for (const auto& item : net.named_parameters())
    if (item.key() != "again" && item.value().requires_grad()) weights.push_back(item.value());
  torch::optim::AdamW adamw(
      weights,
      torch::optim::AdamWOptions(1e-2).betas(std::make_tuple(0.9, 0.95)).eps(1e-8).weight_decay(0));
  for (int64_t step = 1; step <= 20; ++step) {
    adamw.zero_grad();
    loss_of(net, batch(step, 0, 1)).backward();
    adamw.step();
  }
  return net.flat();
}

void equals_torch(const Group& group) {
  Net net(static_cast<uint64_t>(1 + group.rank()));  // rank 0's weights must win
  net.norm->eval();
  DataParallelOptions options = options_of("adamw", "fp32");
  options.reducer.clip = 0;
  options.learning_rate = [](int64_t) { return 1e-2; };
  DataParallel parallel(net, group, options);
  for (int64_t step = 1; step <= 20; ++step) {
    const Batch b = batch(step, group.rank(), group.size());
    const int64_t half = b.x.size(0) / 2;
    // Two micro-batches in every second step.
    if (step % 2 == 0) {
      parallel.accumulate(loss_of(net, {b.x.slice(0, 0, half), b.y.slice(0, 0, half)}) / 2);
      parallel.step(loss_of(net, {b.x.slice(0, half), b.y.slice(0, half)}) / 2);
    } else {
      parallel.step(loss_of(net, b));
    }
  }
  parallel.check_replicas();
  const double apart = (net.flat() - reference()).abs().max().item<double>();
  // Sums over parts of the batch round differently: 1e-7 of a gradient. Adam's first steps divide
  // by the root of a small variance, which magnifies that; weights are about 0.3, steps 1e-2.
  expect(apart < 2e-5, "weights are " + std::to_string(apart) + " from torch's AdamW");
  expect(at::equal(net.frozen, Net(1).frozen), "a frozen parameter moved");
  expect(at::equal(net.unused, Net(1).unused), "an unused parameter moved");
}

// The first `stop` steps in one object, the rest in another that loaded its checkpoint.
void resumes(const Group& group, const std::string& folder, const std::string& optimizer,
             const std::string& codec) {
  const std::string where = folder + "/" + optimizer + "-" + codec;
  const auto steps = [&](Net& net, DataParallel& parallel, int64_t to) {
    while (parallel.steps_taken() < to)
      parallel.step(loss_of(net, batch(parallel.steps_taken() + 1, group.rank(), group.size())));
  };
  Net whole(7), resumed(8);
  DataParallel one(whole, group, options_of(optimizer, codec));
  expect(!one.load(where), "loaded a checkpoint that is not there");
  steps(whole, one, 12);
  one.save(where);
  one.save(where);  // nothing new: no second one
  steps(whole, one, 24);
  one.sync_buffers();
  one.check_replicas();
  const bool compressed = codec != "fp32";
  expect((one.reducer().encodes() > 0) == compressed, codec + ": encoded or not");
  if (compressed) expect(one.reducer().residual_norm() > 0, codec + ": no error feedback");

  DataParallel two(resumed, group, options_of(optimizer, codec));
  expect(two.load(where) && two.steps_taken() == 12, "did not load step 12");
  steps(resumed, two, 24);
  two.sync_buffers();
  expect(at::equal(whole.flat(), resumed.flat()), codec + ": resuming changed the weights");
  const double sum = two.sum(static_cast<double>(group.rank()));
  const int64_t all = int64_t{group.size()} * (group.size() - 1) / 2;
  expect(sum == static_cast<double>(all), "sum over the ranks");
}

void train(const std::string& folder) {
  const Connection connection = connect({.timeout_s = 30});
  equals_torch(connection.group);
  resumes(connection.group, folder, "adamw", "fp32");
  resumes(connection.group, folder, "onebit_adam", "onebit");
  resumes(connection.group, folder, "adamw", "topk");
}

// Each rank with another learning rate: nobody may start.
void different_options() {
  Net net(1);
  DataParallelOptions options = options_of("adamw", "fp32");
  options.optim.lr = std::getenv("RANK")[0] == '1' ? 2e-2 : 1e-2;
  try {
    DataParallel parallel(net, options);
  } catch (const Error& error) {
    expect(error.code() == ExitCode::disagree, error.what());
    std::printf("%s\n", error.what());
    return;
  }
  expect(false, "different options were accepted");
}

}  // namespace
}  // namespace terse

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  try {
    if (what == "train" && argc > 2) return terse::train(argv[2]), 0;
    if (what == "options") return terse::different_options(), 0;
    throw std::runtime_error("usage: parallel_ranks train FOLDER | options");
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
