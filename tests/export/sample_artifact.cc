#include "tests/export/sample_artifact.h"

#include <algorithm>
#include <array>
#include <map>
#include <random>

#include "base/error.h"
#include "base/half.h"
#include "sparsity/mask.h"

namespace terse {
namespace {

// Owns the dense data; Artifact::keep holds it.
using Storage = std::vector<std::shared_ptr<std::vector<std::byte>>>;

TensorView dense_data(Storage& storage, DType dtype, const std::vector<int64_t>& shape, double mean,
                      double deviation, std::mt19937_64& random) {
  int64_t n = 1;
  for (int64_t d : shape) n *= d;
  auto bytes = std::make_shared<std::vector<std::byte>>();
  std::normal_distribution<double> normal(mean, deviation);
  for (int64_t i = 0; i < n; ++i) {
    const auto x = static_cast<float>(normal(random));
    const uint16_t half = dtype == DType::bf16 ? bf16_from_float(x) : fp16_from_float(x);
    const auto piece = dtype == DType::f32 ? bytes_of(&x, 1) : std::as_bytes(std::span(&half, 1));
    bytes->insert(bytes->end(), piece.begin(), piece.end());
  }
  storage.push_back(bytes);
  return {dtype, shape, *bytes};
}

TokenizerData sample_tokenizer(int64_t vocab) {
  TokenizerData t;
  t.pieces = {{"<unk>", 0.0f, PieceType::unknown},
              {"<s>", 0.0f, PieceType::control},
              {"</s>", 0.0f, PieceType::control}};
  for (int i = 0; i < 256; ++i)
    t.pieces.push_back({fmt::format("<0x{:02X}>", i), 0.0f, PieceType::byte});
  while (static_cast<int64_t>(t.pieces.size()) < vocab) {
    const auto n = t.pieces.size() - 259;
    t.pieces.push_back({n == 0 ? "\xe2\x96\x81" : fmt::format("w{}", n), -static_cast<float>(n),
                        PieceType::normal});
  }
  t.bos = 1;
  t.eos = 2;
  t.unk = 0;
  return t;
}

DType dtype_of(const std::string& name) {
  DType dtype = DType::f32;
  const std::map<std::string, DType> types = {
      {"f32", DType::f32}, {"f16", DType::f16}, {"bf16", DType::bf16}};
  if (const auto found = types.find(name); found != types.end()) dtype = found->second;
  return dtype;
}

const std::map<std::string, CodeFormat>& formats() {
  using S = ScaleType;
  static const std::map<std::string, CodeFormat> all = {
      {"q4_0", {"int_signed", 4, -8, 7, 0.0f, 32, S::f16, 0}},
      {"q4_1", {"half_int", 4, -8, 7, 0.5f, 32, S::f16_7bit, 0}},
      {"q5_0", {"int_signed", 5, -16, 15, 0.0f, 32, S::f16, 0}},
      {"q8_0", {"int_signed", 8, -127, 127, 0.0f, 32, S::f16, 0}},
      {"q1_0", {"half_int", 1, -1, 0, 0.5f, 128, S::f16, 0}},
      {"q2_0", {"ternary", 2, -1, 1, 0.0f, 64, S::f16, 0}},
      {"tq1_0", {"ternary", 2, -1, 1, 0.0f, 256, S::f16, 0}},
      {"tq2_0", {"ternary", 2, -1, 1, 0.0f, 256, S::f16, 0}},
      {"mxfp4", {"fp4", 4, -12, 12, 0.0f, 32, S::e8m0, 0, "", 0.5f}},
      {"nvfp4", {"fp4", 4, -12, 12, 0.0f, 16, S::e4m3, 0, "", 0.5f}},
      {"int2", {"int_signed", 2, -2, 1, 0.0f, 64, S::f16, 0}},
      {"int8", {"int_signed", 8, -128, 127, 0.0f, 32, S::f16, 0}},
      {"half_int3", {"half_int", 3, -4, 3, 0.5f, 32, S::f16, 0}},
  };
  return all;
}

int8_t sample_code(const CodeFormat& f, std::mt19937_64& random) {
  constexpr std::array<int8_t, 8> kSizes = {0, 1, 2, 3, 4, 6, 8, 12};
  const auto below = [&](int n) { return static_cast<int>(random() % static_cast<uint64_t>(n)); };
  if (f.grid != "fp4") return static_cast<int8_t>(f.code_min + below(f.code_max - f.code_min + 1));
  const int8_t size = kSizes[static_cast<size_t>(below(8))];
  return below(2) == 0 ? size : static_cast<int8_t>(-size);
}

std::vector<uint8_t> magnitude_mask(const std::string& pattern, const float* values, int64_t rows,
                                    int64_t columns) {
  std::vector<uint8_t> mask(static_cast<size_t>(rows * mask_stride(columns)));
  select_mask(parse_pattern(pattern), values, rows, columns, mask.data());
  return mask;
}

void prune(Codes& codes, const std::string& pattern) {
  std::vector<float> values(codes.codes.size());
  codes.decode(values.data());
  codes.set_mask(pattern, magnitude_mask(pattern, values.data(), codes.rows, codes.columns));
}

// In place: the storage belongs to the artifact.
void prune(ArtifactWeight& weight, std::vector<std::byte>& data, const std::string& pattern) {
  const int64_t rows = weight.shape[0], columns = weight.shape[1];
  const auto mask = magnitude_mask(pattern, effective_values(weight).data(), rows, columns);
  const int64_t width = dtype_size(weight.dtype);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c)
      if ((mask[static_cast<size_t>(r * mask_stride(columns) + c / 8)] >> (c % 8) & 1) == 0)
        std::fill_n(data.begin() + (r * columns + c) * width, width, std::byte{0});
  weight.pattern = pattern;
}

}  // namespace

LlamaShape tiny_shape(int64_t width, int64_t vocab) {
  return {.layers = 1,
          .width = width,
          .heads = 2,
          .kv_heads = 1,
          .hidden = width,
          .context = 8,
          .vocab = vocab};
}

std::vector<std::string> sample_kinds() {
  std::vector<std::string> kinds;
  for (const auto& [kind, format] : formats()) kinds.push_back(kind);
  return kinds;
}

std::vector<GgufPacking> coded_packings() {
  std::vector<GgufPacking> coded;
  for (const GgufPacking& packing : gguf_packings())
    if (packing.pack != nullptr) coded.push_back(packing);
  return coded;
}

int64_t sample_block(const std::string& kind) {
  const auto found = formats().find(kind);
  if (found == formats().end()) return 1;
  return std::max<int64_t>(found->second.group, kind == "nvfp4" ? 64 : 32);
}

Codes sample_codes(int64_t rows, int64_t columns, const std::string& kind, uint64_t seed) {
  Codes codes;
  codes.rows = rows;
  codes.columns = columns;
  codes.format = formats().at(kind);
  const CodeFormat& f = codes.format;
  std::mt19937_64 random(seed);
  for (int64_t i = 0; i < rows * columns; ++i) codes.codes.push_back(sample_code(f, random));
  const float unit = 0.2f / (static_cast<float>(f.code_max) + 0.5f);
  if (f.scale_type == ScaleType::e4m3) codes.tensor_scale = 0x1p-9f;
  std::uniform_real_distribution<float> scale(0.5f, 1.5f);
  for (int64_t i = 0; i < codes.scale_count(); ++i) {
    // Q4_0 scales are negative half of the time, as ggml's own.
    const float sign = kind == "q4_0" && random() % 2 == 0 ? -1.0f : 1.0f;
    codes.scales.push_back(sign *
                           round_scale(unit * scale(random) / codes.tensor_scale, f.scale_type));
  }
  return codes;
}

Artifact sample_artifact(const SampleOptions& options) {
  Artifact artifact;
  artifact.shape = options.shape;
  if (options.tokenizer) artifact.tokenizer = sample_tokenizer(options.shape.vocab);
  artifact.metadata = {{"method", "sample"}, {"run", "none"}};
  auto storage = std::make_shared<Storage>();
  std::mt19937_64 random(options.seed);
  for (const WeightName& w : llama_weight_names(options.shape)) {
    const bool in_layer = w.name.starts_with("model.layers.") && w.shape.size() == 2;
    const DType dtype = w.shape.size() == 1 ? DType::f32
                        : in_layer          ? dtype_of(options.weights)
                                            : options.dense;
    const bool coded = in_layer && formats().contains(options.weights);
    if (coded) {
      auto codes =
          std::make_shared<Codes>(sample_codes(w.shape[0], w.shape[1], options.weights, random()));
      if (!options.pattern.empty()) prune(*codes, options.pattern);
      artifact.weights.push_back(compressed_weight(w.name, codes));
    } else {
      const double mean = w.shape.size() == 1 ? 1.0 : 0.0;
      artifact.weights.push_back(
          dense_weight(w.name, dense_data(*storage, dtype, w.shape, mean, 0.1, random)));
      if (in_layer && !options.pattern.empty())
        prune(artifact.weights.back(), *storage->back(), options.pattern);
    }
  }
  artifact.keep = storage;
  return artifact;
}

}  // namespace terse
