// What fits into which GGUF type, with the reason where it does not.
#include "base/error.h"
#include "export/gguf_pack.h"
#include "qat/targets.h"

namespace terse {
namespace {

Fit impossible(std::string reason) {
  return {Verdict::impossible, std::move(reason), 1, 0};
}

// The [qat] target whose grid is this type's, where there is one.
std::string remedy(const GgufPacking& packing) {
  const std::string name = fmt::format("gguf:{}", packing.name);
  const Target* target = find_target(name);
  return target == nullptr || !target->grid
             ? ""
             : fmt::format("; train with [qat] target = \"{}\"", name);
}

bool holds(const GgufPacking& packing, const CodeFormat& format, int multiply, int add) {
  const int a = format.code_min * multiply + add, b = format.code_max * multiply + add;
  return std::min(a, b) >= packing.code_min && std::max(a, b) <= packing.code_max &&
         multiply % packing.code_step == 0 && (a - packing.code_min) % packing.code_step == 0;
}

// The change of code that brings the grid into the type's range.
Fit fit_range(const CodeFormat& format, const GgufPacking& packing) {
  if (format.offset == 0.5f && packing.type == GgufType::q4_1 && holds(packing, format, 1, 0))
    return {};
  if (format.offset == 0.5f) {
    if (holds(packing, format, 2, 1))
      return {Verdict::exact_after, "stored as 2 code + 1 with half the scale", 2, 1};
  } else if (holds(packing, format, 1, 0)) {
    if (format.unit != 1.0f)
      return {Verdict::exact_after, fmt::format("stored with {} of the scale", format.unit), 1, 0};
    return {};
  } else if (holds(packing, format, -1, 0)) {
    return {Verdict::exact_after, "stored negated, the scale too", -1, 0};
  }
  const int multiply = format.offset == 0.5f ? 2 : 1, add = multiply - 1;
  return impossible(fmt::format("codes lie in [{}, {}]{}, {} holds [{}, {}]{}{}",
                                format.code_min * multiply + add, format.code_max * multiply + add,
                                multiply == 2 ? " when doubled" : "", packing.name,
                                packing.code_min, packing.code_max,
                                packing.code_step == 2 ? " without 0" : "", remedy(packing)));
}

// What the type's scales make of the format's; nothing where they hold them all.
Fit fit_scales(const CodeFormat& format, const GgufPacking& packing, Fit fit) {
  const ScaleType have = format.scale_type;
  const bool minimum = packing.type == GgufType::q4_1 && format.offset != 0.0f;
  if (have == ScaleType::f32)
    return impossible(fmt::format("scales are fp32, {} stores {}{}", packing.name,
                                  to_string(packing.scale), remedy(packing)));
  if (minimum && (have == ScaleType::f16 || have == ScaleType::bf16))
    return impossible(
        fmt::format("its minimum is 7.5 times the scale, which {} scales do not let fp16 hold{}",
                    to_string(have), remedy(packing)));
  if (have == ScaleType::f16 || have == ScaleType::f16_7bit) return fit;
  const char* checked = "if every scale is exact in fp16 (checked)";
  fit.reason = fit.reason.empty() ? checked : fmt::format("{}, {}", fit.reason, checked);
  return fit;
}

Fit fit_integer_grid(const CodeFormat& format, const GgufPacking& packing) {
  if (format.offset != 0.0f && !format.pattern.empty())
    return impossible(
        fmt::format("the grid {} has no zero for the weights behind the {} mask; train with [qat] "
                    "target = \"gguf:q4_0\" or \"gguf:q8_0\", or export as gguf:f32 or safetensors",
                    format.grid, format.pattern));
  if (format.offset != 0.0f && format.offset != 0.5f)
    return impossible(fmt::format("the grid is shifted by {}", format.offset));
  const Fit fit = fit_range(format, packing);
  return fit.verdict == Verdict::impossible ? fit : fit_scales(format, packing, fit);
}

// MXFP4 and NVFP4.
Fit fit_fp4(const CodeFormat& format, const GgufPacking& packing) {
  if (format.grid == "fp4" && format.scale_type == packing.scale) return {};
  return impossible(fmt::format("{} holds fp4 with {} scales, these are {} with {} scales{}",
                                packing.name, to_string(packing.scale), format.grid,
                                to_string(format.scale_type), remedy(packing)));
}

Fit fit_codes(const CodeFormat& format, const GgufPacking& packing) {
  if (format.group > 0 && format.group % packing.group != 0)
    return impossible(fmt::format("{} columns share a scale, {} needs a multiple of {}{}",
                                  format.group, packing.name, packing.group, remedy(packing)));
  return packing.scale == ScaleType::f16 ? fit_integer_grid(format, packing)
                                         : fit_fp4(format, packing);
}

}  // namespace

Fit gguf_fit(const CodeFormat& format, const GgufPacking& packing) {
  if (format.hadamard != 0)
    return impossible(
        "no GGUF reader rotates activations; train with [qat] hadamard = 0 (the default of gguf "
        "targets)");
  if (packing.pack != nullptr) return fit_codes(format, packing);
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

}  // namespace terse
