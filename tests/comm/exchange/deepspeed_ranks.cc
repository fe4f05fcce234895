// The exchange itself against DeepSpeed; tests/trainer/lab asks the program the same.
#include "base/state.h"
#include "comm/codec/onebit.h"
#include "comm/two_stage_exchange.h"
#include "tests/comm/exchange/deepspeed.h"

namespace terse::testing {
namespace {

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

void check_call(Group& group, const DeepSpeed& oracle, int call) {
  TwoStageExchange exchange(group, make_onebit_codec());
  const int64_t n = oracle.elements();
  exchange.attach(plan_of({{n}}));
  load(exchange, group, oracle.state(call, group.rank(), "worker_before"),
       oracle.state(call, group.rank(), "server_before"));
  const at::Tensor answer = average(exchange, 0, message(n, group.rank(), call));
  exchange.commit();
  expect_call(oracle, call, group.rank(),
              {answer, exchange.worker_residual(0), exchange.server_residual(0)});
}

void check_free_running(Group& group, const DeepSpeed& oracle) {
  TwoStageExchange exchange(group, make_onebit_codec());
  const int64_t n = oracle.elements();
  exchange.attach(plan_of({{n}}));
  FreeRun run(oracle);
  for (int call = 0; call < DeepSpeed::kCalls; ++call) {
    run.add(call, average(exchange, 0, message(n, group.rank(), call)));
    exchange.commit();
    run.expect_norms(call, group.rank(), exchange.worker_residual(0), exchange.server_residual(0));
  }
}

}  // namespace

void check_deepspeed(Group& group, const std::string& golden) {
  const DeepSpeed oracle(group.size(), golden);
  for (const int call : DeepSpeed::kRecorded) check_call(group, oracle, call);
  check_free_running(group, oracle);
}

}  // namespace terse::testing
