#include "export/onnx_input.h"

#include <algorithm>

#include "base/error.h"
#include "qat/scale_type.h"

namespace terse {
namespace {

template <typename T>
std::string constant(OnnxModel& model, const std::string& name, OnnxType type,
                     std::vector<int64_t> shape, T value) {
  const auto same = [&](const OnnxItem& item) { return item.name == name; };
  if (std::none_of(model.initializers.begin(), model.initializers.end(), same))
    model.initializers.push_back({name, type, std::move(shape), [value](const ByteSink& sink) {
                                    sink(std::as_bytes(std::span(&value, 1)));
                                  }});
  return name;
}

class InputNodes {
 public:
  InputNodes(OnnxModel& model, const std::string& name, const InputFormat& input)
      : model_(model), name_(name), input_(input), grid_(input_grid(input, 0)) {
    constants_ = fmt::format("inputs.{}.", to_string(input));
    std::replace(constants_.begin(), constants_.end(), ' ', '_');
  }

  void add_pair(const std::string& x) {
    const std::string scale = number("scale", input_.scale);
    const auto zero = constant(model_, "inputs.zero_point", OnnxType::u8, {}, uint8_t{128});
    node("DequantizeLinear", "", {node("QuantizeLinear", ".codes", {x, scale, zero}), scale, zero});
  }

  void add_steps(const std::string& x) {
    const std::string scale = one_scale() ? number("scale", input_.scale) : token_scale(x);
    const float offset = grid_.format.offset;
    std::string levels = codes(in_steps(x, scale));
    if (offset != 0.0f) levels = node("Add", ".levels", {levels, number("offset", offset)});
    node("Mul", "", {levels, scale});
  }

 private:
  bool one_scale() const { return input_.scale > 0.0f; }

  std::string node(const char* op, const char* part, std::vector<std::string> inputs,
                   std::map<std::string, OnnxAttribute> attributes = {}) {
    std::string name = name_ + part;
    model_.nodes.push_back({op, std::move(inputs), {name}, std::move(attributes), "", name});
    return name;
  }

  std::string number(const char* part, float value) {
    return constant(model_, constants_ + part, OnnxType::f32, {}, value);
  }

  std::string over_token(const char* op, const std::string& values) {
    const auto axes = constant(model_, "inputs.axes", OnnxType::i64, {1}, int64_t{-1});
    return node(op, ".statistic", {values, axes}, {{"keepdims", int64_t{1}}});
  }

  std::string token_scale(const std::string& x) {
    if (grid_.rule == ScaleRule::rms) {
      const auto mean = over_token("ReduceMean", node("Mul", ".squares", {x, x}));
      const auto root = node("Sqrt", ".root", {mean});
      const auto scale = node("Mul", ".part", {root, number("step", grid_.step)});
      return node("Add", ".scale", {scale, number("least", grid_.eps)});
    }
    const std::string sizes = node("Abs", ".sizes", {x});
    std::string scale;
    float least = grid_.eps;
    if (grid_.rule == ScaleRule::absmean) {
      const auto mean = over_token("ReduceMean", sizes);
      scale = node("Mul", ".part", {mean, number("step", grid_.step)});
    } else {
      const auto most = over_token("ReduceMax", sizes);
      scale = node("Div", ".part", {most, number("step", grid_.step)});
      least = smallest_normal(grid_.format.scale_type);  // of a token of zeros
    }
    return node("Max", ".scale", {scale, number("least", least)});
  }

  std::string in_steps(const std::string& x, const std::string& scale) {
    if (grid_.rounding == Rounding::quotient) return node("Div", ".steps", {x, scale});
    // ONNX Runtime makes a quotient of x times 1 / scale, but not of Reciprocal.
    const std::string inverse = one_scale() ? number("inverse", 1.0f / input_.scale)
                                            : node("Reciprocal", ".inverse", {scale});
    return node("Mul", ".steps", {x, inverse});
  }

  std::string codes(const std::string& steps) {
    const bool floor = grid_.rounding == Rounding::floor;
    const auto least = static_cast<float>(grid_.format.code_min);
    const float most = static_cast<float>(grid_.format.code_max) + (floor ? 0.5f : 0.0f);
    const auto inside =
        node("Clip", ".inside", {steps, number("code_min", least), number("code_max", most)});
    return node(floor ? "Floor" : "Round", ".codes", {inside});
  }

  OnnxModel& model_;
  const std::string& name_;
  const InputFormat& input_;
  const Grid grid_;
  std::string constants_;
};

}  // namespace

bool onnx_rounds(const InputFormat& input) {
  const bool known = input.scale > 0.0f || input.rule == ScaleRule::rms ||
                     input.rule == ScaleRule::absmax || input.rule == ScaleRule::absmean;
  const Rounding rounding = input_grid(input, 0).rounding;
  return known && rounding != Rounding::fp4 && rounding != Rounding::fp4_quotient;
}

bool onnx_int8_pair(const InputFormat& input) {
  return input.scale > 0.0f && input.grid == "int_signed" && input.bits == 8;
}

bool onnx_multiplies_codes(const Artifact& artifact, const std::string& type) {
  return type == "int8" &&
         std::all_of(artifact.weights.begin(), artifact.weights.end(), [](const auto& weight) {
           return !weight.compressed() ||
                  (weight.format->group <= 0 && weight.input && onnx_int8_pair(*weight.input));
         });
}

void add_rounded_input(OnnxModel& model, const std::string& name, const std::string& x,
                       const InputFormat& input, bool pair) {
  TERSE_CHECK(onnx_rounds(input) && (!pair || onnx_int8_pair(input)), "{}: {}", name,
              to_string(input));
  InputNodes nodes(model, name, input);
  if (pair) return nodes.add_pair(x);
  nodes.add_steps(x);
}

}  // namespace terse
