#include "trainer/lab/exchange/lab_exchange.h"

#include <ATen/ATen.h>
#include <fmt/ranges.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "comm/dense_exchange.h"
#include "comm/make_exchange.h"
#include "export/safetensors.h"
#include "trainer/lab/exchange/lab_exchange_input.h"
#include "trainer/lab/ranked_path.h"

namespace terse {
namespace {

std::string json_array(const std::vector<int64_t>& values) {
  return fmt::format("[{}]", fmt::join(values, ","));
}

int64_t dense_bytes(const Group& group, const BucketPlan& plan) {
  DenseExchange dense(group, {});
  dense.attach(plan);
  return dense.wire_bytes(0);
}

// Collects tensors and keeps their memory until the file is written.
class Output {
 public:
  void add(const std::string& name, const at::Tensor& values, std::vector<int64_t> shape) {
    kept_.push_back(values);
    views_[name] = {DType::f32, std::move(shape),
                    bytes_of(values.const_data_ptr<float>(), values.numel())};
  }
  // `values` cut into the input's tensors, named NAME@suffix.
  void add_segments(const LabExchangeInput& input, const at::Tensor& values,
                    const std::string& suffix) {
    for (const Segment& segment : input.bucket().segments)
      add(segment.name + "@" + suffix, values.narrow(0, segment.offset, segment.size),
          input.shape(segment.name));
  }
  void write(const std::string& path, Metadata metadata) const {
    write_safetensors(FileSystem::real(), path, views_, std::move(metadata));
  }

 private:
  std::vector<at::Tensor> kept_;
  std::map<std::string, TensorView> views_;
};

nlohmann::json decided(Exchange& exchange, int64_t call) {
  nlohmann::json list = nlohmann::json::array();
  for (const ExchangeDecision& d : exchange.take_decisions())
    list.push_back({{"call", call}, {"value", d.value}, {"reason", d.reason}});
  return list;
}

at::Tensor average(Exchange& exchange, const at::Tensor& message) {
  at::Tensor answer = at::empty_like(message);
  exchange.start(0, message);
  for (int round = 1; round < exchange.rounds(); ++round) exchange.advance(0, round);
  exchange.finish(0, answer);
  exchange.commit();
  return answer;
}

}  // namespace

void lab_exchange(const LabExchangeOptions& options, const Group& group) {
  if (options.exchange.codec == "auto")
    fail(ExitCode::usage,
         "auto chooses while a training run is measured, and there is none here; name one of fp32, "
         "bf16, onebit, bits, topk, lowrank");
  const LabExchangeInput input(ranked_path(options.in, group.rank()));
  const BucketPlan plan{{input.bucket()}};
  const auto exchange = make_exchange(group, options.exchange, at::kCPU, options.ranks_per_node);
  exchange->attach(plan);
  const Range chunk = chunk_of(input.bucket().size, group.size(), group.rank());
  if (input.has_residuals() && options.exchange.hierarchy)
    fail(ExitCode::usage,
         "[exchange] hierarchy keeps residuals by node: lab exchange cannot begin with those of a "
         "file; leave NAME@residual out");
  if (input.has_residuals()) input.load_residuals(*exchange, chunk, group.size());
  Output output;
  std::vector<int64_t> wire, dense;
  nlohmann::json decisions = nlohmann::json::array();
  for (int64_t call = 0; call < input.calls(); ++call) {
    const int64_t before = group.wire_bytes().total();
    output.add_segments(input, average(*exchange, input.message(call)), std::to_string(call));
    wire.push_back(group.wire_bytes().total() - before);
    dense.push_back(dense_bytes(group, plan));
    for (nlohmann::json& d : decided(*exchange, call + 1)) decisions.push_back(std::move(d));
  }
  if (const at::Tensor kept = exchange->worker_residual(0); kept.defined())
    output.add_segments(input, kept.to(at::kFloat), "residual");
  if (const at::Tensor kept = exchange->server_residual(0); kept.defined())
    output.add("server_residual", kept, {chunk.size()});
  if (group.rank() == 0 || options.out.find("{rank}") != std::string::npos)
    output.write(ranked_path(options.out, group.rank()),
                 {{"server_offset", std::to_string(chunk.begin)},
                  {"wire_bytes", json_array(wire)},
                  {"dense_bytes", json_array(dense)},
                  {"decisions", decisions.dump()}});
}

}  // namespace terse
