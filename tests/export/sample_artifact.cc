#include "tests/export/sample_artifact.h"

#include <map>
#include <random>

#include "base/error.h"
#include "base/half.h"

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

}  // namespace

Codes sample_codes(int64_t rows, int64_t columns, const std::string& kind, uint64_t seed) {
  Codes codes;
  codes.rows = rows;
  codes.columns = columns;
  CodeFormat& f = codes.format;
  f.grid = kind == "half_int3" ? "half_int" : "int_signed";
  f.bits = kind == "q4_0" ? 4 : kind == "q8_0" ? 8 : 3;
  f.code_min = kind == "q8_0" ? -127 : -(1 << (f.bits - 1));
  f.code_max = (1 << (f.bits - 1)) - 1;
  f.offset = kind == "half_int3" ? 0.5f : 0.0f;
  f.group = 32;
  f.scale_type = ScaleType::f16;
  std::mt19937_64 random(seed);
  std::uniform_int_distribution<int> code(f.code_min, f.code_max);
  std::uniform_real_distribution<float> scale(0.5f, 1.5f);
  for (int64_t i = 0; i < rows * columns; ++i)
    codes.codes.push_back(static_cast<int8_t>(code(random)));
  const float unit = 0.2f / static_cast<float>(f.code_max);
  for (int64_t i = 0; i < rows * codes.groups(); ++i) {
    // Q4_0 scales are negative half of the time, as ggml's own.
    const float sign = kind == "q4_0" && random() % 2 == 0 ? -1.0f : 1.0f;
    codes.scales.push_back(fp16_to_float(fp16_from_float(sign * unit * scale(random))));
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
    const bool coded = in_layer && (options.weights == "q4_0" || options.weights == "q8_0" ||
                                    options.weights == "half_int3");
    if (coded) {
      artifact.weights.push_back(
          compressed_weight(w.name, std::make_shared<Codes>(sample_codes(
                                        w.shape[0], w.shape[1], options.weights, random()))));
    } else {
      const double mean = w.shape.size() == 1 ? 1.0 : 0.0;
      artifact.weights.push_back(
          dense_weight(w.name, dense_data(*storage, dtype, w.shape, mean, 0.1, random)));
    }
  }
  artifact.keep = storage;
  return artifact;
}

}  // namespace terse
