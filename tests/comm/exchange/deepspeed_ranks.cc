// One call from the oracle's own residuals, and 200 calls on our own.
#include "base/state.h"
#include "comm/codec/onebit.h"
#include "comm/two_stage_exchange.h"
#include "export/safetensors.h"
#include "tests/comm/exchange/ranks.h"

namespace terse::testing {
namespace {

constexpr int kCalls = 200;

class Oracle {
 public:
  Oracle(Group& group, const std::string& path) : group_(group), file_(path) {}

  at::Tensor get(const std::string& name) const {
    const TensorView view = file_.require(fmt::format("{}/{}", group_.size(), name));
    at::Tensor out = at::empty(view.shape, view.dtype == DType::f64 ? at::kDouble : at::kFloat);
    expect(out.nbytes() == view.data.size(), name + " has an unexpected type");
    std::memcpy(out.mutable_data_ptr(), view.data.data(), view.data.size());
    return out;
  }
  at::Tensor of_rank(int call, const std::string& name) const {
    return get(fmt::format("{}/{}/{}", call, group_.rank(), name));
  }

 private:
  Group& group_;
  SafetensorsFile file_;
};

void load(TwoStageExchange& exchange, Group& group, const at::Tensor& worker,
          const at::Tensor& server) {
  MemoryState state(group.size());
  const auto put = [&](const char* name, const at::Tensor& tensor) {
    state.tensor(
        Scope::own, name,
        {DType::f32, {tensor.numel()}, bytes_of(tensor.const_data_ptr<float>(), tensor.numel())});
  };
  put("exchange/residual/b0.s0", worker);
  put("exchange/server_residual/b0.s0", server);
  exchange.load(state);
}

// Signs equal wherever |x| is above 1e-4 of the scale; there the residual may differ by two scales.
void expect_residual(const at::Tensor& ours, const at::Tensor& theirs, const at::Tensor& x,
                     double scale, const std::string& what) {
  const at::Tensor clear = x.abs() > 1e-4 * scale;
  // 3e-5 of the scale is the bound of the scales themselves; x adds a few roundings.
  const double worst = (ours - theirs).masked_select(clear).abs().max().item<double>() /
                       (scale + x.abs().max().item<double>());
  expect(worst < 4e-5, fmt::format("{}: residual differs by {} of the largest", what, worst));
}

void check_call(Group& group, const Oracle& oracle, int call) {
  TwoStageExchange exchange(group, make_onebit_codec());
  const at::Tensor worker = oracle.of_rank(call, "worker_before");
  const int64_t n = worker.numel();
  exchange.attach(plan_of({{n}}));
  load(exchange, group, worker, oracle.of_rank(call, "server_before"));
  const at::Tensor in = message(n, group.rank(), call);
  const at::Tensor ours = average(exchange, 0, in);
  exchange.commit();
  const at::Tensor theirs = oracle.get(fmt::format("{}/answer", call));
  const std::string what = fmt::format("call {} on {} ranks", call, group.size());

  const at::Tensor x = in + worker;
  const double scale = x.norm().item<double>() / std::sqrt(static_cast<double>(n));
  expect_residual(exchange.worker_residual(0), oracle.of_rank(call, "worker_after"), x, scale,
                  what + ", worker");
  const Range chunk = chunk_of(n, group.size(), group.rank());
  const at::Tensor server_after = oracle.of_rank(call, "server_after");
  const at::Tensor y = server_after + theirs.narrow(0, chunk.begin, chunk.size());
  const double server_scale = theirs[chunk.begin].abs().item<double>();
  expect_residual(exchange.server_residual(0), server_after, y, server_scale, what + ", server");
  for (int64_t j = 0; j < group.size(); ++j) {
    const Range part = chunk_of(n, group.size(), j);
    const double a = ours[part.begin].abs().item<double>();
    const double b = theirs[part.begin].abs().item<double>();
    expect(std::abs(a - b) < 3e-5 * b, what + fmt::format(": scale {} against {}", a, b));
  }
  // Signs of the answer, where this rank knows y.
  const at::Tensor mine = ours.narrow(0, chunk.begin, chunk.size());
  const at::Tensor other = theirs.narrow(0, chunk.begin, chunk.size());
  const at::Tensor differ =
      (mine.sign() != other.sign()).logical_and(y.abs() > 1e-4 * server_scale);
  expect(differ.sum().item<int64_t>() == 0, what + ": signs differ");
}

void check_free_running(Group& group, const Oracle& oracle) {
  TwoStageExchange exchange(group, make_onebit_codec());
  const int64_t n = oracle.get("0/answer").numel();
  exchange.attach(plan_of({{n}}));
  const at::Tensor worker_norm = oracle.get("worker_norm");
  const at::Tensor server_norm = oracle.get("server_norm");
  const at::Tensor mean_error = oracle.get("mean_error");
  at::Tensor sent = at::zeros({n}, at::kDouble), given = at::zeros({n}, at::kDouble);
  for (int call = 0; call < kCalls; ++call) {
    const at::Tensor answer = average(exchange, 0, message(n, group.rank(), call));
    exchange.commit();
    sent += answer.to(at::kDouble);
    for (int64_t r = 0; r < group.size(); ++r)
      given += message(n, r, call).to(at::kDouble) / static_cast<double>(group.size());
    // Once a sign falls differently because sums round differently, single elements part by two
    // scales: then the norms agree as those of independent samples do, whose relative spread over m
    // elements is 1 / sqrt(2 m). With l1 in place of rms the first call fails.
    const auto near = [&](const at::Tensor& tensor, double theirs, const char* what) {
      const double ours = tensor.norm().item<double>();
      const double spread = 3 / std::sqrt(2.0 * static_cast<double>(tensor.numel()));
      expect(std::abs(ours - theirs) < spread * theirs,
             fmt::format("call {}: {} {} against {}", call, what, ours, theirs));
    };
    near(exchange.worker_residual(0), worker_norm[call][group.rank()].item<double>(),
         "worker residual");
    near(exchange.server_residual(0), server_norm[call][group.rank()].item<double>(),
         "server residual");
    near((sent - given) / given.norm(), mean_error[call].item<double>(),
         "error of the running mean");
  }
}

}  // namespace

void check_deepspeed(Group& group, const std::string& golden) {
  const Oracle oracle(group, golden);
  for (const int call : {0, 1, 2, 10, 50, 199}) check_call(group, oracle, call);
  check_free_running(group, oracle);
}

}  // namespace terse::testing
