#include "trainer/lab/exchange/lab_exchange_input.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <charconv>
#include <cstring>

#include "base/error.h"
#include "base/state.h"

namespace terse {
namespace {

// The number behind the last '@', or -1.
int64_t call_of(std::string_view suffix) {
  int64_t call = -1;
  const auto [end, error] = std::from_chars(suffix.data(), suffix.data() + suffix.size(), call);
  return error == std::errc() && end == suffix.data() + suffix.size() ? call : -1;
}

}  // namespace

LabExchangeInput::LabExchangeInput(const std::string& path) : file_(path) {
  for (const std::string& name : file_.names()) read_name(name);
  if (calls_ == 0)
    fail(ExitCode::invalid_file, "{}: no tensor is named NAME@0; calls count from 0", path);
  for (const auto& [name, shape] : shapes_) {
    int64_t size = 1;
    for (const int64_t d : shape) size *= d;
    const int64_t rows = shape.size() > 1 ? shape[0] : 1;
    bucket_.segments.push_back({name, bucket_.size, size, rows, rows > 0 ? size / rows : 0, true});
    bucket_.size += size;
  }
  for (int64_t call = 0; call < calls_; ++call)
    for (const auto& [name, shape] : shapes_)
      file_.require(name + "@" + std::to_string(call), DType::f32, shape);
}

void LabExchangeInput::read_name(const std::string& name) {
  if (name == "server_residual") {
    has_residuals_ = true;
    return;
  }
  const size_t at = name.rfind('@');
  const std::string suffix = at == std::string::npos ? "" : name.substr(at + 1);
  if (suffix == "residual") {
    has_residuals_ = true;
    return;
  }
  const int64_t call = call_of(suffix);
  if (call < 0)
    fail(ExitCode::invalid_file,
         "{}: tensor '{}' is neither NAME@CALL (calls from 0), NAME@residual nor server_residual",
         file_.path(), name);
  calls_ = std::max(calls_, call + 1);
  shapes_.emplace(name.substr(0, at), file_.require(name).shape);
}

at::Tensor LabExchangeInput::gather(const std::string& suffix, bool optional) const {
  at::Tensor flat = at::zeros({bucket_.size}, at::kFloat);
  float* out = flat.mutable_data_ptr<float>();
  for (const Segment& segment : bucket_.segments) {
    const std::string name = segment.name + "@" + suffix;
    if (optional && !file_.find(name)) continue;
    const auto view = file_.require(name, DType::f32, shapes_.at(segment.name));
    if (segment.size > 0) std::memcpy(out + segment.offset, view.data.data(), view.data.size());
  }
  return flat;
}

at::Tensor LabExchangeInput::message(int64_t call) const {
  return gather(std::to_string(call), false);
}

void LabExchangeInput::load_residuals(Exchange& exchange, Range chunk, int64_t ranks) const {
  const at::Tensor worker = gather("residual", true);
  at::Tensor server = at::zeros({chunk.size()}, at::kFloat);
  if (file_.find("server_residual")) {
    const auto view = file_.require("server_residual", DType::f32, {chunk.size()});
    if (chunk.size() > 0)
      std::memcpy(server.mutable_data_ptr(), view.data.data(), view.data.size());
  }
  MemoryState state(ranks);
  const auto put = [&](const std::string& name, const float* data, int64_t n) {
    state.tensor(Scope::own, name, {DType::f32, {n}, bytes_of(data, n)});
  };
  for (const Segment& segment : bucket_.segments) {
    put("exchange/residual/" + segment.name, worker.const_data_ptr<float>() + segment.offset,
        segment.size);
    const int64_t begin = std::max(segment.offset, chunk.begin);
    const int64_t end = std::min(segment.offset + segment.size, chunk.end);
    if (begin < end)
      put("exchange/server_residual/" + segment.name,
          server.const_data_ptr<float>() + (begin - chunk.begin), end - begin);
  }
  exchange.load(state);
}

}  // namespace terse
