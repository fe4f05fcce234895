#include "base/state.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/error.h"
#include "base/look_up.h"

namespace terse {
namespace {

template <typename T>
T required(const std::optional<T>& found, std::string_view name) {
  if (!found) fail(ExitCode::invalid_file, "the checkpoint has no value '{}'", name);
  return *found;
}

}  // namespace

TensorView StateReader::require(Scope scope, std::string_view name, DType dtype,
                                const std::vector<int64_t>& shape, int64_t rank) const {
  auto found = tensor(scope, name, rank);
  if (!found) fail(ExitCode::invalid_file, "the checkpoint has no tensor '{}'", name);
  if (found->dtype != dtype || found->shape != shape)
    fail(ExitCode::invalid_file, "tensor '{}' of the checkpoint is {} [{}], expected {} [{}]", name,
         dtype_name(found->dtype), fmt::join(found->shape, ", "), dtype_name(dtype),
         fmt::join(shape, ", "));
  return *found;
}

int64_t StateReader::require_integer(Scope scope, std::string_view name) const {
  return required(integer(scope, name), name);
}
double StateReader::require_number(Scope scope, std::string_view name) const {
  return required(number(scope, name), name);
}
std::string StateReader::require_text(Scope scope, std::string_view name) const {
  return required(text(scope, name), name);
}

void MemoryState::tensor(Scope, std::string name, TensorView view) {
  tensors_[std::move(name)] = {view.dtype, view.shape, {view.data.begin(), view.data.end()}};
}
void MemoryState::value(Scope, std::string name, int64_t v) {
  integers_[std::move(name)] = v;
}
void MemoryState::value(Scope, std::string name, double v) {
  numbers_[std::move(name)] = v;
}
void MemoryState::value(Scope, std::string name, std::string v) {
  texts_[std::move(name)] = std::move(v);
}

std::optional<TensorView> MemoryState::tensor(Scope, std::string_view name, int64_t) const {
  auto it = tensors_.find(name);
  if (it == tensors_.end()) return std::nullopt;
  return TensorView{it->second.dtype, it->second.shape, it->second.bytes};
}
std::optional<int64_t> MemoryState::integer(Scope, std::string_view name) const {
  return look_up(integers_, name);
}
std::optional<double> MemoryState::number(Scope, std::string_view name) const {
  return look_up(numbers_, name);
}
std::optional<std::string> MemoryState::text(Scope, std::string_view name) const {
  return look_up(texts_, name);
}

std::vector<std::string> MemoryState::names() const {
  std::vector<std::string> all;
  for (const auto& [name, tensor] : tensors_) all.push_back(name);
  return all;
}

}  // namespace terse
