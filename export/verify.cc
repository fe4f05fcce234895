#include <algorithm>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "export/file_reader.h"
#include "export/import.h"

namespace terse {

namespace {

// A scale stored negated gives zero the other sign.
bool same_values(const float* a, const float* b, size_t count) {
  if (count == 0 || std::memcmp(a, b, count * sizeof(float)) == 0) return true;
  for (size_t i = 0; i < count; ++i) {
    const auto left = std::bit_cast<uint32_t>(a[i]), right = std::bit_cast<uint32_t>(b[i]);
    if (left != right && ((left | right) << 1) != 0) return false;
  }
  return true;
}

bool holds_codes(const std::vector<float>& values, const Codes& codes) {
  constexpr int64_t kPiece = 1 << 20;  // elements that are decoded at a time
  const int64_t strip = std::max<int64_t>(1, kPiece / std::max<int64_t>(1, codes.columns));
  std::vector<float> part;
  bool same = static_cast<int64_t>(values.size()) == codes.rows * codes.columns;
  for (int64_t r = 0; same && r < codes.rows; r += strip) {
    const Codes rows = codes.row_slice(r, std::min(codes.rows, r + strip));
    part.resize(rows.codes.size());
    rows.decode(part.data());
    same = same_values(values.data() + r * codes.columns, part.data(), part.size());
  }
  return same;
}

// Dense values, widened a piece at a time.
bool holds_dense(const std::vector<float>& values, const ArtifactWeight& weight) {
  constexpr size_t kPiece = 1 << 20;  // bytes that are widened at a time
  const auto width = static_cast<size_t>(dtype_size(weight.dtype));
  std::vector<std::byte> bytes;  // of whole elements, but for the end
  std::vector<float> part;
  size_t at = 0;
  bool same = true;
  const auto compare = [&] {
    const size_t count = bytes.size() / width;
    same = same && count <= values.size() - at;
    if (!same) return;
    part.resize(count);
    widen_to_float(weight.dtype, std::span(bytes).first(count * width), part.data());
    same = same_values(values.data() + at, part.data(), count);
    at += count;
    bytes.erase(bytes.begin(), bytes.begin() + static_cast<int64_t>(count * width));
  };
  weight.bytes([&](std::span<const std::byte> piece) {
    for (; same && !piece.empty(); piece = piece.subspan(std::min(kPiece, piece.size()))) {
      const auto next = piece.first(std::min(kPiece, piece.size()));
      bytes.insert(bytes.end(), next.begin(), next.end());
      compare();
    }
  });
  return same && bytes.empty() && at == values.size();
}

// Whether the weight has these values, without a second tensor of them.
bool holds(const std::vector<float>& values, const ArtifactWeight& weight) {
  return weight.compressed() ? holds_codes(values, weight.codes()) : holds_dense(values, weight);
}

}  // namespace

bool same_values(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && same_values(a.data(), b.data(), a.size());
}

VerifyResult verify_file(const std::string& path, const Artifact& artifact) {
  StoredTensors stored = reader_of(path).stored(path, artifact.shape);
  VerifyResult result;
  for (const ArtifactWeight& weight : artifact.weights) {
    ++result.tensors;
    const auto found = stored.find(weight.name);
    const bool equal = found != stored.end() && found->second.shape == weight.shape &&
                       (!found->second.input || found->second.input == weight.input) &&
                       holds(found->second.values(), weight);
    if (equal) ++result.equal;
    if (!equal) result.different.push_back(weight.name);
    if (found != stored.end()) stored.erase(found);
  }
  if (!stored.empty())
    fail(ExitCode::invalid_file, "{}: tensor \"{}\" is no part of the model", path,
         stored.begin()->first);
  return result;
}

std::string to_json(const VerifyResult& result) {
  return nlohmann::ordered_json{
      {"tensors", result.tensors}, {"equal", result.equal}, {"different", result.different}}
      .dump();
}

}  // namespace terse
