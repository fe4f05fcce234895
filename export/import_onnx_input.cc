#include "export/import_onnx_input.h"

#include <cstring>

#include "base/error.h"
#include "qat/scale_type.h"

namespace terse {
namespace {

constexpr const char* kKey = "terse.input/";
constexpr int32_t kFloat = 1, kUint8 = 2, kInt64 = 7;

const OnnxNode* maker_of(const OnnxFile& file, const std::string& value) {
  for (const OnnxNode& node : file.nodes())
    if (!node.outputs.empty() && node.outputs[0] == value) return &node;
  return nullptr;
}

bool takes(const OnnxNode& node, size_t position, const std::string& value) {
  return node.inputs.size() > position && node.inputs[position] == value;
}

// The product with a weight, behind what widens, turns or decodes it.
const OnnxNode* product_of(const OnnxFile& file, const std::string& weight) {
  std::string value = weight;
  for (int step = 0; step < 4; ++step) {
    const OnnxNode* next = nullptr;
    for (const OnnxNode& node : file.nodes()) {
      if (takes(node, 1, value) && (node.op == "MatMul" || node.op == "MatMulNBits")) return &node;
      const bool passes =
          node.op == "Cast" || node.op == "Transpose" || node.op == "DequantizeLinear";
      if (passes && takes(node, 0, value)) next = &node;
    }
    if (next == nullptr || next->outputs.empty()) return nullptr;
    value = next->outputs[0];
  }
  return nullptr;
}

// Walks from a layer's input back to what is rounded, node by node.
class RoundedInput {
 public:
  RoundedInput(const OnnxFile& file, const std::string& weight, const InputFormat& input)
      : file_(file), weight_(weight), input_(input), grid_(input_grid(input, 0)) {}

  void check(const std::string& rounded) const {
    const OnnxNode* last = maker_of(file_, rounded);
    if (last != nullptr && last->op == "DequantizeLinear") return check_pair(rounded);
    const OnnxNode& decoded = made(rounded, "Mul", 2);
    std::string levels = decoded.inputs[0];
    const std::string& scale = decoded.inputs[1];
    if (grid_.format.offset != 0.0f) {
      const OnnxNode& shifted = made(levels, "Add", 2);
      expect(shifted.inputs[1], grid_.format.offset);
      levels = shifted.inputs[0];
    }
    check_scale(scale, check_codes(levels, scale));
  }

 private:
  [[noreturn]] void bad(const std::string& value, const std::string& what) const {
    fail(ExitCode::invalid_file,
         "{}: the input of \"{}\" is said to be {}, but in the graph \"{}\" {}", file_.path(),
         weight_, to_string(input_), value, what);
  }

  const OnnxNode& made(const std::string& value, const char* op, size_t inputs) const {
    const OnnxNode* node = maker_of(file_, value);
    if (node == nullptr || node->op != op || node->inputs.size() != inputs)
      bad(value, fmt::format("is not made by {} of {}", op, inputs));
    return *node;
  }

  template <typename T>
  void expect(const std::string& name, T wanted, int32_t type) const {
    const OnnxTensor* found = file_.find(name);
    T value{};
    if (found == nullptr || found->type != type || found->data.size() != sizeof value)
      bad(name, "is no such number");
    std::memcpy(&value, found->data.data(), sizeof value);
    if (value != wanted) bad(name, fmt::format("is {}, not {}", value, wanted));
  }
  void expect(const std::string& name, float wanted) const { expect(name, wanted, kFloat); }

  void check_pair(const std::string& rounded) const {
    const OnnxNode& decoded = made(rounded, "DequantizeLinear", 3);
    const OnnxNode& coded = made(decoded.inputs[0], "QuantizeLinear", 3);
    const bool int8 = input_.grid == "int_signed" && input_.bits == 8 && input_.scale > 0.0f;
    if (!int8) bad(rounded, "has 8 bits and one scale");
    for (const OnnxNode* node : {&decoded, &coded}) {
      expect(node->inputs[1], input_.scale);
      expect(node->inputs[2], uint8_t{128}, kUint8);
    }
  }

  // Returns what is rounded.
  std::string check_codes(const std::string& codes, const std::string& scale) const {
    const bool floor = grid_.format.offset != 0.0f;
    const OnnxNode& inside = made(made(codes, floor ? "Floor" : "Round", 1).inputs[0], "Clip", 3);
    expect(inside.inputs[1], static_cast<float>(grid_.format.code_min));
    expect(inside.inputs[2], static_cast<float>(grid_.format.code_max) + (floor ? 0.5f : 0.0f));
    const bool divides = grid_.rounding == Rounding::quotient;
    const OnnxNode& steps = made(inside.inputs[0], divides ? "Div" : "Mul", 2);
    const std::string& by = steps.inputs[1];
    if (!divides && input_.scale > 0.0f)
      expect(by, 1.0f / input_.scale);
    else if ((divides ? by : made(by, "Reciprocal", 1).inputs[0]) != scale)
      bad(by, "does not come from the scale");
    return steps.inputs[0];
  }

  void check_scale(const std::string& scale, const std::string& x) const {
    if (input_.scale > 0.0f) return expect(scale, input_.scale);
    const bool rms = grid_.rule == ScaleRule::rms, most = grid_.rule == ScaleRule::absmax;
    if (!rms && !most && grid_.rule != ScaleRule::absmean) bad(scale, "has a rule of its own");
    const OnnxNode& whole = made(scale, rms ? "Add" : "Max", 2);
    expect(whole.inputs[1], most ? smallest_normal(grid_.format.scale_type) : grid_.eps);
    const OnnxNode& part = made(whole.inputs[0], most ? "Div" : "Mul", 2);
    expect(part.inputs[1], grid_.step);
    const std::string& statistic = rms ? made(part.inputs[0], "Sqrt", 1).inputs[0] : part.inputs[0];
    const OnnxNode& reduced = made(statistic, most ? "ReduceMax" : "ReduceMean", 2);
    expect(reduced.inputs[1], int64_t{-1}, kInt64);
    const OnnxNode& sizes = made(reduced.inputs[0], rms ? "Mul" : "Abs", rms ? 2 : 1);
    for (const std::string& of : sizes.inputs)
      if (of != x) bad(of, "is not what is rounded");
  }

  const OnnxFile& file_;
  const std::string& weight_;
  const InputFormat& input_;
  const Grid grid_;
};

}  // namespace

bool says_onnx_input(const std::string& key) {
  return key.starts_with(kKey);
}

std::optional<InputFormat> onnx_input(const OnnxFile& file, const std::string& weight) {
  const auto text = file.metadata().find(kKey + weight);
  if (text == file.metadata().end()) return std::nullopt;
  InputFormat input = parse_input_format(text->second);
  const OnnxNode* product = product_of(file, weight);
  if (product == nullptr)
    fail(ExitCode::invalid_file, "{}: no product takes \"{}\"", file.path(), weight);
  RoundedInput(file, weight, input).check(product->inputs[0]);
  return input;
}

}  // namespace terse
