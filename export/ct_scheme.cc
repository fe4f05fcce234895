#include "export/ct_scheme.h"

#include "base/error.h"
#include "qat/targets.h"

namespace terse {
namespace {

constexpr const char* kTrainForCt =
    "train with [qat] target = \"compressed-tensors:w4a16\" or another of this family";

Fit impossible(std::string reason) {
  return {Verdict::impossible, std::move(reason), 1, 0};
}

// Bits of the narrowest two's complement integer that holds the range.
int bits_of(int least, int most) {
  int bits = 1;
  while (least < -(1 << (bits - 1)) || most > (1 << (bits - 1)) - 1) ++bits;
  return bits;
}

bool is_fp4(const CodeFormat& format) {
  return format.grid == "fp4" && format.unit == 0.5f && format.offset == 0.0f &&
         format.code_min >= -12 && format.code_max <= 12;
}

Fit fit_fp4(const CodeFormat& format) {
  const bool nv = format.group == 16 && format.scale_type == ScaleType::e4m3;
  const bool mx = format.group == 32 && format.scale_type == ScaleType::e8m0;
  if (nv || mx) return {};
  return impossible(
      "fp4 comes with e4m3 scales of 16 columns (nvfp4) or e8m0 scales of 32 (mxfp4)");
}

Fit fit_integers(const CodeFormat& format) {
  const bool half = format.offset == 0.5f;
  if (format.unit != 1.0f || !(half || format.offset == 0.0f) ||
      format.scale_type == ScaleType::e8m0 || format.scale_type == ScaleType::e4m3)
    return impossible(fmt::format("no layout has such codes or scales; {}", kTrainForCt));
  if (half && !format.pattern.empty())
    return impossible(fmt::format(
        "the grid of half integers has no zero for what the mask removes; {}", kTrainForCt));
  const int least = half ? 2 * format.code_min + 1 : format.code_min;
  const int most = half ? 2 * format.code_max + 1 : format.code_max;
  const int bits = bits_of(least, most);
  if (bits > 8)
    return impossible(fmt::format("codes on {} half integers need {} bits, readers know 8 at most",
                                  format.code_max - format.code_min + 1, bits));
  if (!half) return {};
  return {Verdict::exact_after, fmt::format("2 code + 1 as {} bits, with half the scale", bits), 2,
          1};
}

std::string scale_dtype(ScaleType type) {
  switch (type) {
    case ScaleType::f16:
    case ScaleType::f16_7bit:
      return "F16";
    case ScaleType::bf16:
      return "BF16";
    case ScaleType::e8m0:
      return "U8";
    case ScaleType::e4m3:
      return "F8_E4M3";
    case ScaleType::f32:
      break;
  }
  return "F32";
}

}  // namespace

bool ct_rounds(const CodeFormat& weight, const InputFormat& input) {
  if (input.grid == "nvfp4") return is_fp4(weight) && weight.scale_type == ScaleType::e4m3;
  if (input.grid == "mxfp4")
    return input == mxfp4_input() && is_fp4(weight) && weight.scale_type == ScaleType::e8m0;
  const bool known = input.scale > 0.0f || input.rule == ScaleRule::absmax;
  return known && input.grid == "int_signed" && input.bits >= 2 && input.bits <= 8;
}

Fit ct_fit(const CodeFormat& format) {
  Fit fit = is_fp4(format) ? fit_fp4(format) : fit_integers(format);
  if (fit.verdict == Verdict::impossible || format.hadamard == 0) return fit;
  fit.reason += fmt::format(
      "{}rotated inputs as transform_config, which vLLM applies, and "
      "transformers by apply_transform_config",
      fit.reason.empty() ? "" : "; ");
  return fit;
}

CtScheme ct_scheme(const ArtifactWeight& weight) {
  const CodeFormat& format = *weight.format;
  const Fit fit = ct_fit(format);
  TERSE_CHECK(fit.verdict != Verdict::impossible, "{}: {}", weight.name, fit.reason);
  CtScheme scheme;
  scheme.multiply = fit.multiply;
  scheme.add = fit.add;
  scheme.group = format.group > 0 ? format.group : 0;
  scheme.strategy = scheme.group > 0 ? "group" : "channel";
  scheme.scale = scale_dtype(format.scale_type);
  scheme.hadamard = format.hadamard;
  if (weight.input && ct_rounds(format, *weight.input)) {
    scheme.input_bits = weight.input->bits;
    scheme.input_static = weight.input->scale > 0.0f;
    scheme.input_fp4 = weight.input->grid != "int_signed";
  }
  if (is_fp4(format)) {
    const bool nv = format.scale_type == ScaleType::e4m3;
    scheme.format = nv ? "nvfp4-pack-quantized" : "mxfp4-pack-quantized";
    if (nv) scheme.strategy = "tensor_group";
    return scheme;
  }
  scheme.bits =
      bits_of(format.code_min * fit.multiply + fit.add, format.code_max * fit.multiply + fit.add);
  // vLLM has int8 products for a scale a row; everything else it looks for in the packed layout.
  const bool int8 = scheme.bits == 8 && scheme.input_bits == 8 && scheme.group == 0;
  scheme.format = int8 ? "int-quantized" : "pack-quantized";
  return scheme;
}

std::string ct_name(const CtScheme& scheme) {
  std::string name = scheme.format == "nvfp4-pack-quantized"   ? "nvfp4"
                     : scheme.format == "mxfp4-pack-quantized" ? "mxfp4"
                                                               : fmt::format("w{}", scheme.bits);
  if (!scheme.input_fp4) name += fmt::format("a{}", scheme.input_bits);
  if (scheme.hadamard > 0) name += "-hadamard";
  return name;
}

bool ct_is(const ArtifactWeight& weight, const std::string& name) {
  return name.empty() || ct_name(ct_scheme(weight)) == name;
}

std::string ct_training(const std::string& name) {
  const std::string target = "compressed-tensors:" + name;
  if (find_target(target) != nullptr)
    return fmt::format("train with [qat] target = \"{}\"", target);
  const int bits = std::stoi(name.substr(1));
  const std::optional<InputFormat> input = ct_input(name);
  return fmt::format(
      "train with [qat] target = \"none\", grid = \"int_signed\", weight_bits = {}{}, hadamard = 0",
      bits, input ? fmt::format(", act_bits = {}, estimator = \"lsq\"", input->bits) : "");
}

std::optional<InputFormat> ct_input(const std::string& name) {
  if (name == "nvfp4") return nvfp4_input(kInputGlobal);
  if (name == "mxfp4") return mxfp4_input();
  const size_t a = name.find('a', 1);
  if (name.empty() || a == std::string::npos) return std::nullopt;
  const int bits = std::stoi(name.substr(a + 1));
  if (bits == 16) return std::nullopt;
  return InputFormat{.bits = bits};
}

}  // namespace terse
