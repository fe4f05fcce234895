#include "tests/export/coded_artifact.h"

#include <array>
#include <random>

#include "sparsity/mask.h"

namespace terse {
namespace {

CodeFormat make(const char* grid, int bits, int least, int most, int64_t group, ScaleType scale) {
  CodeFormat format;
  format.grid = grid;
  format.bits = bits;
  format.code_min = least;
  format.code_max = most;
  format.group = group;
  format.scale_type = scale;
  return format;
}

// Each M columns keep the first N.
std::vector<uint8_t> some_mask(const Pattern& pattern, int64_t rows, int64_t columns) {
  std::vector<uint8_t> bits(static_cast<size_t>(rows * mask_stride(columns)));
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c)
      if (c % pattern.of < pattern.keep)
        bits[static_cast<size_t>(r * mask_stride(columns) + c / 8)] |=
            static_cast<uint8_t>(1u << (c % 8));
  return bits;
}

}  // namespace

CodeFormat int_format(int bits, int64_t group, ScaleType scale) {
  return make("int_signed", bits, -(1 << (bits - 1)), (1 << (bits - 1)) - 1, group, scale);
}

CodeFormat half_int_format(int bits) {
  CodeFormat format =
      make("half_int", bits, -(1 << (bits - 1)), (1 << (bits - 1)) - 1, 32, ScaleType::f16);
  format.offset = 0.5f;
  return format;
}

CodeFormat nvfp4_format() {
  CodeFormat format = make("fp4", 4, -12, 12, 16, ScaleType::e4m3);
  format.unit = 0.5f;
  return format;
}

CodeFormat mxfp4_format() {
  CodeFormat format = make("fp4", 4, -12, 12, 32, ScaleType::e8m0);
  format.unit = 0.5f;
  return format;
}

Codes random_codes(const CodeFormat& format, int64_t rows, int64_t columns, uint64_t seed) {
  constexpr std::array<int, 15> kFp4 = {-12, -8, -6, -4, -3, -2, -1, 0, 1, 2, 3, 4, 6, 8, 12};
  std::mt19937_64 random(seed);
  Codes codes;
  codes.format = format;
  codes.format.pattern.clear();
  codes.rows = rows;
  codes.columns = columns;
  const bool fp4 = format.grid == "fp4";
  std::uniform_int_distribution<int> code(fp4 ? 0 : format.code_min, fp4 ? 14 : format.code_max);
  for (int64_t i = 0; i < rows * columns; ++i) {
    const int drawn = code(random);
    codes.codes.push_back(static_cast<int8_t>(fp4 ? kFp4[static_cast<size_t>(drawn)] : drawn));
  }
  if (format.scale_type == ScaleType::e4m3) codes.tensor_scale = 0x1p-9f;
  std::uniform_real_distribution<float> scale(0.1f, 0.3f);
  const float largest = (static_cast<float>(format.code_max) + format.offset) * format.unit;
  for (int64_t i = 0; i < codes.scale_count(); ++i)
    codes.scales.push_back(round_scale(scale(random) / std::max(largest, 0.5f) / codes.tensor_scale,
                                       format.scale_type));
  if (!format.pattern.empty())
    codes.set_mask(format.pattern, some_mask(parse_pattern(format.pattern), rows, columns));
  return codes;
}

Artifact coded_artifact(const std::function<CodedLayer(const std::string&)>& layer,
                        SampleOptions options) {
  options.weights = "bf16";
  Artifact artifact = sample_artifact(options);
  uint64_t seed = options.seed;
  for (ArtifactWeight& weight : artifact.weights) {
    if (!weight.name.starts_with("model.layers.") || weight.shape.size() != 2) continue;
    const CodedLayer want = layer(weight.name);
    if (!want.format) continue;
    weight = compressed_weight(
        weight.name, std::make_shared<Codes>(
                         random_codes(*want.format, weight.shape[0], weight.shape[1], ++seed)));
    weight.input = want.input;
    if (want.input) artifact.act_bits = want.input->bits;
  }
  return artifact;
}

Artifact coded_artifact(const CodeFormat& format, std::optional<InputFormat> input) {
  return coded_artifact([&](const std::string&) { return CodedLayer{format, input}; });
}

}  // namespace terse
