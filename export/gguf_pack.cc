#include "export/gguf_pack.h"

#include <array>
#include <cstring>

#include "base/error.h"
#include "base/half.h"

namespace terse {
namespace {

void pack_q4_0(const int8_t* codes, float scale, std::byte* out) {
  const uint16_t d = fp16_from_float(scale);
  std::memcpy(out, &d, sizeof d);
  for (int j = 0; j < 16; ++j)
    out[2 + j] = static_cast<std::byte>((codes[j] + 8) | ((codes[j + 16] + 8) << 4));
}

void pack_q8_0(const int8_t* codes, float scale, std::byte* out) {
  const uint16_t d = fp16_from_float(scale);
  std::memcpy(out, &d, sizeof d);
  std::memcpy(out + 2, codes, 32);
}

constexpr std::array<GgufPacking, 5> kPackings = {{
    {GgufType::q4_0, "q4_0", 32, 18, 2, -8, 7, pack_q4_0},
    {GgufType::q8_0, "q8_0", 32, 34, 7, -128, 127, pack_q8_0},
    {GgufType::bf16, "bf16", 1, 2, 32, 0, 0, nullptr},
    {GgufType::f16, "f16", 1, 2, 1, 0, 0, nullptr},
    {GgufType::f32, "f32", 1, 4, 0, 0, 0, nullptr},
}};

Fit impossible(std::string reason) {
  return {Verdict::impossible, std::move(reason), 1, 0};
}

constexpr const char* kTrainForGguf = "train with [qat] target = \"gguf:q4_0\" or \"gguf:q8_0\"";

bool inside(const CodeFormat& format, const GgufPacking& packing, int multiply, int add) {
  return format.code_min * multiply + add >= packing.code_min &&
         format.code_max * multiply + add <= packing.code_max;
}

Fit fit_integer_grid(const CodeFormat& format, const GgufPacking& packing) {
  if (format.scale_type != ScaleType::f16 && format.scale_type != ScaleType::bf16)
    return impossible(fmt::format("scales are {}, {} stores f16; {}", to_string(format.scale_type),
                                  packing.name, kTrainForGguf));
  if (format.unit != 1.0f || format.group < 0)
    return impossible(
        fmt::format("{} has no such grid: {}; {}", packing.name, to_string(format), kTrainForGguf));
  if (format.group % packing.block != 0)
    return impossible(fmt::format("{} columns share a scale, {} needs a multiple of {}",
                                  format.group, packing.name, packing.block));
  Fit fit;
  if (format.scale_type == ScaleType::bf16)
    fit.reason = "if every scale is exact in fp16 (checked)";
  if (format.offset != 0.0f && !format.pattern.empty())
    return impossible(
        fmt::format("the grid {} has no zero for the weights behind the {} mask; {}, or export as "
                    "gguf:f32 or safetensors",
                    format.grid, format.pattern, kTrainForGguf));
  if (format.offset == 0.5f) {
    fit = {Verdict::exact_after, "stored as 2 code + 1 with half the scale", 2, 1};
  } else if (format.offset != 0.0f) {
    return impossible(fmt::format("the grid is shifted by {}", format.offset));
  }
  if (!inside(format, packing, fit.multiply, fit.add))
    return impossible(fmt::format("codes lie in [{}, {}], {} holds [{}, {}]",
                                  format.code_min * fit.multiply + fit.add,
                                  format.code_max * fit.multiply + fit.add, packing.name,
                                  packing.code_min, packing.code_max));
  return fit;
}

// The scale of a stored block, or an error: what the file cannot hold must not be rounded silently.
float stored_scale(float scale, int multiply, const std::string& name) {
  const float wanted = scale / static_cast<float>(multiply);
  if (fp16_to_float(fp16_from_float(wanted)) != wanted)
    fail(ExitCode::invalid_file, "tensor \"{}\": the scale {} is not exact in fp16; {}", name,
         wanted, kTrainForGguf);
  return wanted;
}

}  // namespace

const char* verdict_name(Verdict verdict) {
  switch (verdict) {
    case Verdict::exact:
      return "exact";
    case Verdict::exact_after:
      return "exact-after";
    case Verdict::impossible:
      return "impossible";
  }
  return "";
}

std::span<const GgufPacking> gguf_packings() {
  return kPackings;
}

const GgufPacking& gguf_packing(GgufType type) {
  for (const GgufPacking& packing : kPackings)
    if (packing.type == type) return packing;
  TERSE_CHECK(false, "type {}", static_cast<uint32_t>(type));
}

Fit gguf_fit(const CodeFormat& format, const GgufPacking& packing) {
  if (format.hadamard != 0)
    return impossible(
        "no GGUF reader rotates activations; train with [qat] hadamard = 0 (the default of gguf "
        "targets)");
  if (packing.pack != nullptr) return fit_integer_grid(format, packing);
  if (packing.type == GgufType::f32)
    return {Verdict::exact_after, "decoded: larger, the same values", 1, 0};
  return impossible(fmt::format("code times scale needs more digits than {} has", packing.name));
}

Fit gguf_fit(DType dtype, const GgufPacking& packing) {
  if (packing.pack != nullptr)
    return impossible("the weights have no codes; quantizing them now would change the model");
  const bool same = (dtype == DType::f32 && packing.type == GgufType::f32) ||
                    (dtype == DType::f16 && packing.type == GgufType::f16) ||
                    (dtype == DType::bf16 && packing.type == GgufType::bf16);
  if (same) return {};
  if (packing.type == GgufType::f32) return {Verdict::exact_after, "widened to fp32", 1, 0};
  return impossible(
      fmt::format("{} values would be rounded to {}", dtype_name(dtype), packing.name));
}

void gguf_pack_codes(const Codes& codes, const GgufPacking& packing, const std::string& name,
                     const std::function<int64_t(int64_t)>& row_of, const ByteSink& sink) {
  const Fit fit = gguf_fit(codes.format, packing);
  TERSE_CHECK(fit.verdict != Verdict::impossible && codes.columns % packing.block == 0, "{}", name);
  const int64_t blocks = codes.columns / packing.block;
  const int64_t group = codes.format.group == 0 ? codes.columns : codes.format.group;
  std::vector<std::byte> row(static_cast<size_t>(blocks * packing.bytes));
  std::vector<int8_t> stored(static_cast<size_t>(codes.columns));
  for (int64_t r = 0; r < codes.rows; ++r) {
    const int64_t from = row_of ? row_of(r) : r;
    const int8_t* source = codes.codes.data() + from * codes.columns;
    const float* scales = codes.scales.data() + from * codes.groups();
    for (size_t c = 0; c < stored.size(); ++c)
      stored[c] = static_cast<int8_t>(source[c] * fit.multiply + fit.add);
    for (int64_t b = 0; b < blocks; ++b)
      packing.pack(stored.data() + b * packing.block,
                   stored_scale(scales[b * packing.block / group], fit.multiply, name),
                   row.data() + b * packing.bytes);
    sink(row);
  }
}

}  // namespace terse
