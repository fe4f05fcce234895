#include "export/artifact.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <set>

#include "base/error.h"
#include "base/half.h"

namespace terse {
namespace {

int64_t numel(const ArtifactWeight& weight) {
  int64_t n = 1;
  for (int64_t d : weight.shape) n *= d;
  return n;
}

}  // namespace

std::vector<std::byte> dense_bytes(const ArtifactWeight& weight) {
  std::vector<std::byte> all;
  all.reserve(static_cast<size_t>(numel(weight) * dtype_size(weight.dtype)));
  weight.bytes(
      [&](std::span<const std::byte> piece) { all.insert(all.end(), piece.begin(), piece.end()); });
  if (static_cast<int64_t>(all.size()) != numel(weight) * dtype_size(weight.dtype))
    fail(ExitCode::invalid_file, "weight \"{}\" gave {} bytes where its shape needs {}",
         weight.name, all.size(), numel(weight) * dtype_size(weight.dtype));
  return all;
}

void widen_to_float(DType dtype, std::span<const std::byte> bytes, float* out) {
  if (bytes.empty()) return;
  const auto count = static_cast<int64_t>(bytes.size()) / dtype_size(dtype);
  if (dtype == DType::f32) {
    std::memcpy(out, bytes.data(), bytes.size());
    return;
  }
  TERSE_CHECK(dtype == DType::f16 || dtype == DType::bf16, "{}", dtype_name(dtype));
  for (int64_t i = 0; i < count; ++i) {
    uint16_t half;
    std::memcpy(&half, bytes.data() + 2 * i, sizeof half);
    out[i] = dtype == DType::bf16 ? bf16_to_float(half) : fp16_to_float(half);
  }
}

std::vector<float> effective_values(const ArtifactWeight& weight) {
  std::vector<float> values(static_cast<size_t>(numel(weight)));
  if (weight.compressed()) {
    const Codes codes = weight.codes();
    TERSE_CHECK(codes.rows * codes.columns == numel(weight), "{}", weight.name);
    codes.decode(values.data());
  } else if (weight.dtype == DType::f32) {
    size_t filled = 0;
    weight.bytes([&](std::span<const std::byte> piece) {
      TERSE_CHECK(filled + piece.size() <= values.size() * sizeof(float), "{}", weight.name);
      std::memcpy(reinterpret_cast<std::byte*>(values.data()) + filled, piece.data(), piece.size());
      filled += piece.size();
    });
    TERSE_CHECK(filled == values.size() * sizeof(float), "{}", weight.name);
  } else {
    widen_to_float(weight.dtype, dense_bytes(weight), values.data());
  }
  return values;
}

const ArtifactWeight& Artifact::weight(std::string_view name) const {
  for (const ArtifactWeight& w : weights)
    if (w.name == name) return w;
  fail(ExitCode::usage, "the model has no weight named \"{}\"", name);
}

bool Artifact::rounds_inputs() const {
  return std::any_of(weights.begin(), weights.end(),
                     [](const ArtifactWeight& w) { return w.input.has_value(); });
}

std::vector<WeightName> Artifact::names() const {
  return vit ? vit_weight_names(*vit) : llama_weight_names(shape);
}

void Artifact::validate() const {
  if (vit)
    check_shape(*vit);
  else
    check_shape(shape);
  std::map<std::string_view, const ArtifactWeight*> by_name;
  for (const ArtifactWeight& w : weights)
    if (!by_name.emplace(w.name, &w).second)
      fail(ExitCode::invalid_file, "weight \"{}\" appears twice", w.name);
  for (const WeightName& expected : names()) {
    const auto found = by_name.find(expected.name);
    if (found == by_name.end())
      fail(ExitCode::invalid_file, "weight \"{}\" is missing", expected.name);
    if (found->second->shape != expected.shape)
      fail(ExitCode::invalid_file, "weight \"{}\" is [{}], the model needs [{}]", expected.name,
           fmt::join(found->second->shape, ", "), fmt::join(expected.shape, ", "));
    by_name.erase(found);
  }
  if (!by_name.empty())
    fail(ExitCode::invalid_file, "weight \"{}\" is no part of the model", by_name.begin()->first);
  if (!tokenizer.pieces.empty() && static_cast<int64_t>(tokenizer.pieces.size()) != shape.vocab)
    fail(ExitCode::invalid_file, "the tokenizer has {} pieces, the model's vocabulary {}",
         tokenizer.pieces.size(), shape.vocab);
}

ArtifactWeight dense_weight(std::string name, TensorView view) {
  ArtifactWeight weight;
  weight.name = std::move(name);
  weight.shape = view.shape;
  weight.dtype = view.dtype;
  weight.bytes = source_of(std::move(view));
  return weight;
}

ArtifactWeight compressed_weight(std::string name, const std::shared_ptr<const Codes>& codes) {
  ArtifactWeight weight;
  weight.name = std::move(name);
  weight.shape = {codes->rows, codes->columns};
  weight.format = codes->format;
  weight.codes = [codes] { return *codes; };
  return weight;
}

}  // namespace terse
