#include "qat/targets.h"

#include "qat/input_format.h"

namespace terse {
namespace {

// Scales of a weight by the rule of least error on N(0, 1): at 4 bits the largest value of a small
// group, the mean square of a large one; at 8 bits always the largest (docs/quantization.md).
Grid fitted(const std::string& name, int bits, int64_t group, ScaleType scale_type) {
  const Grid grid = mse_grid(name, bits, group, scale_type, 0);
  const bool few = group > 0 && group <= 64;
  return bits == 8 || (bits == 4 && few) ? with_rule(grid, ScaleRule::absmax) : grid;
}

// What compressed-tensors computes for dynamic activations: max |z| / (2^(b-1) - 1/2) per token.
Grid per_token(int bits) {
  return input_grid({.bits = bits}, 0);
}

Target dense(const char* name) {
  return {.name = name, .any_activations = true};
}

// GGUF's readers round activations to 8 bits by a rule of their own.
Target gguf(const char* name, const Grid& grid, int64_t block) {
  return {.name = name, .quantizes = true, .grid = grid, .block = block, .any_activations = true};
}

// d = scale / 2 must be a normal fp16 number.
Grid q1_0_grid() {
  Grid grid = with_rule(mse_grid("half_int", 1, 128, ScaleType::f16, 0), ScaleRule::absmean);
  grid.least = 0x1p-13f;
  return grid;
}

Grid fp4_grid(int64_t group, ScaleType scale_type, ScaleRule rule) {
  return with_rule(mse_grid("fp4", 4, group, scale_type, 0), rule);
}

void add_gguf(std::vector<Target>& all) {
  const auto f16 = ScaleType::f16;
  all.push_back(gguf("gguf:q4_0", q4_0_grid(), 32));
  all.push_back(gguf("gguf:q4_1", fitted("half_int", 4, 32, ScaleType::f16_7bit), 32));
  all.push_back(gguf("gguf:q8_0", q8_0_grid(), 32));
  all.push_back(gguf("gguf:q2_0", fitted("ternary", 2, 64, f16), 64));
  all.push_back(gguf("gguf:tq2_0", fitted("ternary", 2, 256, f16), 256));
  all.push_back(gguf("gguf:q1_0", q1_0_grid(), 128));
  all.push_back(gguf("gguf:mxfp4", fp4_grid(32, ScaleType::e8m0, ScaleRule::mx_round), 32));
  all.push_back(gguf("gguf:nvfp4", fp4_grid(16, ScaleType::e4m3, ScaleRule::absmax), 64));
  for (const char* name : {"gguf:f32", "gguf:f16", "gguf:bf16"}) all.push_back(dense(name));
}

// The field's names: "nvfp4" rounds inputs, too, "nvfp4a16" weights alone.
void add_compressed_fp4(std::vector<Target>& all) {
  Target nvfp4{.name = "compressed-tensors:nvfp4",
               .quantizes = true,
               .grid = fp4_grid(16, ScaleType::e4m3, ScaleRule::absmax),
               .block = 16,
               .activations = input_grid(nvfp4_input(kInputGlobal), 0)};
  Target mxfp4{.name = "compressed-tensors:mxfp4",
               .quantizes = true,
               .grid = fp4_grid(32, ScaleType::e8m0, ScaleRule::mx_round),
               .block = 32,
               .activations = input_grid(mxfp4_input(), 0)};
  for (Target* target : {&nvfp4, &mxfp4}) {
    all.push_back(*target);
    target->name += "a16";
    target->activations.reset();
    all.push_back(*target);
  }
}

// Scales in bf16: exact whatever type a reader loads the model in.
void add_compressed_tensors(std::vector<Target>& all) {
  const auto bf16 = ScaleType::bf16;
  const std::vector<int64_t> groups = {64, 32, 0};
  const Grid w4 = fitted("int_signed", 4, 128, bf16);
  all.push_back(
      {.name = "compressed-tensors:w4a16", .quantizes = true, .grid = w4, .groups = groups});
  all.push_back({.name = "compressed-tensors:w8a8",
                 .quantizes = true,
                 .grid = fitted("int_signed", 8, 0, bf16),
                 .activations = per_token(8)});
  Target w4a4{.name = "compressed-tensors:w4a4",
              .quantizes = true,
              .grid = w4,
              .groups = groups,
              .activations = per_token(4)};
  all.push_back(w4a4);
  w4a4.name = "compressed-tensors:w4a4-hadamard";
  w4a4.rotation = 128;
  all.push_back(w4a4);
  add_compressed_fp4(all);
}

// Scales in fp32: the graph computes in it, and takes scales of its own type only.
Target onnx(const char* name, int bits, int64_t group, std::vector<int64_t> groups) {
  return {.name = name,
          .quantizes = true,
          .grid = fitted("int_signed", bits, group, ScaleType::f32),
          .groups = std::move(groups),
          .any_activations = true,
          .file_says_activations = true};
}

void add_onnx(std::vector<Target>& all) {
  all.push_back(onnx("onnx:int4", 4, 32, {16, 64, 128, 256}));
  all.push_back(onnx("onnx:int8", 8, 0, {32, 64, 128, 256}));
}

std::vector<Target> table() {
  std::vector<Target> all = {
      {.name = "none", .quantizes = true, .rotation = 128, .any_activations = true}};
  add_gguf(all);
  add_compressed_tensors(all);
  add_onnx(all);
  return all;
}

}  // namespace

Grid target_grid(const Target& target, int64_t group) {
  const CodeFormat& format = target.grid->format;
  if (group < 0 || group == format.group) return *target.grid;
  return fitted(format.grid, format.bits, group, format.scale_type);
}

std::vector<int64_t> possible_groups(const Target& target) {
  std::vector<int64_t> groups = target.groups;
  groups.insert(groups.begin(), target.grid->format.group);
  return groups;
}

std::span<const Target> targets() {
  static const std::vector<Target> all = table();
  return all;
}

std::vector<std::string> target_names() {
  std::vector<std::string> names;
  for (const Target& target : targets()) names.push_back(target.name);
  return names;
}

const Target* find_target(const std::string& name) {
  for (const Target& target : targets())
    if (target.name == name) return &target;
  return nullptr;
}

}  // namespace terse
