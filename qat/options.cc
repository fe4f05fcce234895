#include "qat/options.h"

#include <algorithm>

#include "base/error.h"
#include "qat/estimator.h"
#include "qat/input_format.h"
#include "qat/lsq.h"
#include "qat/plan.h"
#include "qat/targets.h"

namespace terse {
namespace {

std::vector<std::string> or_default(std::vector<std::string> names) {
  names.insert(names.begin(), "");
  return names;
}

bool power_of_two_or_off(int64_t block) {
  return block <= 0 || (block & (block - 1)) == 0;
}

bool bits_allowed(int64_t bits) {
  return (bits >= 0 && bits <= 8) || bits == 16;
}

// The targets for which `fits` holds.
template <typename Fits>
std::string names_of(const Fits& fits) {
  std::vector<std::string> names;
  for (const Target& target : targets())
    if (fits(target)) names.push_back(target.name);
  return fmt::format("{}", fmt::join(names, ", "));
}

// A target with a grid of its own leaves little to choose; say which value it has.
void check_fixed(const QatOptions& options, const Target& target, Keys& keys) {
  const CodeFormat& format = target.grid->format;
  const auto fixed = [&](const char* key, const std::string& value) {
    keys.problem(key, fmt::format("target {} fixes {} = {}; leave the key out, or set target = "
                                  "\"none\" to choose it",
                                  target.name, key, value));
  };
  if (options.weight_bits != 0 && options.weight_bits != format.bits)
    fixed("weight_bits", std::to_string(format.bits));
  if (!options.grid.empty() && options.grid != format.grid) fixed("grid", format.grid);
  const std::vector<int64_t> groups = possible_groups(target);
  if (options.group >= 0 && std::find(groups.begin(), groups.end(), options.group) == groups.end())
    fixed("group", groups.size() == 1 ? std::to_string(groups.front())
                                      : fmt::format("one of {}", fmt::join(groups, ", ")));
}

void check_activations(const QatOptions& options, const Target& target, Keys& keys) {
  const int64_t bits = options.activation_bits();
  if (target.activations && bits != target.activations->format.bits)
    keys.problem(
        "act_bits",
        fmt::format("readers of {} round activations to {} bits; leave the "
                    "key out. Targets with unquantized ones: {}",
                    target.name, target.activations->format.bits,
                    names_of([](const Target& t) { return t.quantizes && !t.activations; })));
  if (!target.activations && !target.any_activations && bits != 16)
    keys.problem("act_bits",
                 fmt::format("readers of {} leave activations as they are; possible: 16. Targets "
                             "with {}-bit activations: {}",
                             target.name, bits, names_of([&](const Target& t) {
                               return t.any_activations ||
                                      (t.activations && t.activations->format.bits == bits);
                             })));
  if (target.activations && !options.act_grid.empty())
    keys.problem("act_grid",
                 fmt::format("target {} fixes the grid of activations; leave it out", target.name));
  else if (!options.act_grid.empty() && bits == 16)
    keys.problem("act_grid", "activations are not quantized; set act_bits");
}

void check_rotation(const QatOptions& options, const Target& target, Keys& keys) {
  if (!power_of_two_or_off(options.hadamard))
    keys.problem("hadamard", "must be a power of two, or 0");
  if (target.rotation == 0 && options.hadamard > 1)
    keys.problem(
        "hadamard",
        fmt::format("readers of {} cannot rotate activations; leave the key out or set 0. "
                    "Targets that rotate: {}",
                    target.name, names_of([](const Target& t) { return t.rotation != 0; })));
  if (target.rotation != 0 && target.grid && options.hadamard >= 0 && options.hadamard <= 1)
    keys.problem("hadamard", fmt::format("target {} rotates; leave the key out", target.name));
}

// As plan_layer() makes them; check_global_scale() has its own key.
void check_inputs(QatOptions options) {
  options.act_global_scale = 0;
  const Grid grid = activation_grid(options);
  const bool learns = options.estimator == "lsq" && !find_target(options.target)->activations;
  if (learns) learned_grid(grid);
}

void check_global_scale(const QatOptions& options, const Target& target, Keys& keys) {
  if (options.act_global_scale == 0) return;
  const bool fixed = target.activations && target.activations->format.scale_type == ScaleType::e4m3;
  if (!fixed && options.act_grid != "nvfp4")
    keys.problem("act_global_scale",
                 fmt::format("only activations on nvfp4 have a second scale; set act_grid = "
                             "\"nvfp4\", or target to one of: {}",
                             names_of([](const Target& t) {
                               return t.activations &&
                                      t.activations->format.scale_type == ScaleType::e4m3;
                             })));
  else if (!possible_global(options.act_global_scale))
    keys.problem("act_global_scale", "must be a power of two from 2^-20 to 2^20, or 0");
}

// What the grids themselves refuse, at the key that names them.
void check_grids(const QatOptions& options, Keys& keys) {
  const auto report = [&](const char* key, const auto& make) {
    try {
      make();
    } catch (const Error& error) {
      keys.problem(key, error.what());
    }
  };
  QatOptions plain = options;
  plain.scale.clear();
  const bool weights = options.weight_bits != 16 && bits_allowed(options.weight_bits);
  if (weights) report("grid", [&] { weight_grid(plain); });
  if (options.activation_bits() < 9 && bits_allowed(options.act_bits))
    report(options.act_grid.empty() ? "act_bits" : "act_grid", [&] { check_inputs(options); });
  if (!options.scale.empty() && weights) report("scale", [&] { weight_grid(options); });
  if (options.estimator == "lsq" && weights && options.scale.empty())
    report("estimator", [&] { learned_grid(weight_grid(plain)); });
}

void check_bitnet(const QatOptions& options, const Target& target, Keys& keys) {
  const auto only = [&](const char* key, bool fits, const char* value) {
    if (!fits)
      keys.problem(
          key, fmt::format("estimator = \"bitnet\" fixes {} = {}; leave the key out", key, value));
  };
  if (target.grid && target.grid->format.grid != "ternary")
    keys.problem("target", fmt::format("estimator = \"bitnet\" makes ternary weights; possible: {}",
                                       names_of([](const Target& t) {
                                         return t.quantizes &&
                                                (!t.grid || t.grid->format.grid == "ternary");
                                       })));
  only("weight_bits", options.weight_bits == 0 || options.weight_bits == 2, "2");
  only("act_bits", options.activation_bits() == 8, "8");
  only("grid", options.grid.empty() || options.grid == "ternary", "ternary");
  only("act_grid", options.act_grid.empty(), "int_symmetric");
  only("scale", options.scale.empty() || options.scale == "absmean", "absmean");
  only("group", options.group < 0, "the whole tensor");
  only("hadamard", options.hadamard <= 0, "0");
}

}  // namespace

int64_t QatOptions::activation_bits() const {
  if (act_bits != 0) return act_bits;
  if (!enabled()) return 16;
  if (bitnet()) return 8;
  const Target* chosen = find_target(target);
  return chosen != nullptr && chosen->activations ? chosen->activations->format.bits : 16;
}

void QatOptions::bind(Keys& keys) {
  keys.choice("target", target, or_default(target_names()),
              "engine format to serve in; fixes the grid; \"none\": the keys below choose; \"\": "
              "no quantization");
  keys.integer("weight_bits", weight_bits, 0, 16,
               "bits of a weight, 1 to 8; 0 = decided by target; 16 = not quantized");
  keys.integer("act_bits", act_bits, 0, 16,
               "bits of an activation, 1 to 8; 0 = decided by target; 16 = not quantized");
  keys.choice("grid", grid, or_default(grid_names()), "grid of weights, unless target fixes it");
  keys.choice("act_grid", act_grid, or_default(input_grid_names()),
              "grid of activations; nvfp4, mxfp4: fp4 in blocks of 16, 32; \"\" = decided by "
              "target, else that of the weights where it has the bits, else half_int");
  keys.number("act_global_scale", act_global_scale, 0, 1 << 20,
              "input_global_scale of nvfp4 activations, a power of two; 0 = 8");
  keys.choice("scale", scale, or_default(rule_names()),
              "rule of the weights' scales; \"\" = decided by target, without one rms");
  keys.integer(
      "group", group, -1, 1 << 20,
      "columns that share a scale; 0 = a row; -1 = decided by target (estimator lsq: the whole "
      "weight)");
  keys.integer("hadamard", hadamard, -1, 1 << 14,
               "block of the rotation before quantizing; 0 = off; -1 = 128 where the reader can; "
               "layers it does not divide take the largest power of two that does");
  keys.text("estimator", estimator,
            "gradient through the quantizer: trust, clip, straight_through, trust(S), clip(K), lsq "
            "(learned steps); bitnet: BitNet b1.58 as a baseline; \"\" = trust, at 1 bit clip");
  keys.texts("targets", targets, "name patterns of layers to quantize ('*' matches); empty = all");
  keys.texts("ignore", ignore, "name patterns of layers to leave alone");
}

void QatOptions::check(Keys& keys) const {
  if (!enabled()) {
    if (weight_bits != 0 || (act_bits != 0 && act_bits != 16) || !grid.empty() ||
        !act_grid.empty() || act_global_scale != 0 || !scale.empty() || bitnet())
      keys.problem("target",
                   "is missing though [qat] asks for bits or a grid; set target = "
                   "\"none\" or an engine format");
    return;
  }
  const Target* chosen = find_target(target);
  if (chosen == nullptr) return;  // bind reported it
  if (!bits_allowed(weight_bits))
    keys.problem("weight_bits", "possible: 1 to 8, or 16 for unquantized weights");
  if (!bits_allowed(act_bits))
    keys.problem("act_bits", "possible: 1 to 8, or 16 for unquantized activations");
  if (!chosen->quantizes && weight_bits != 0 && weight_bits != 16)
    keys.problem("weight_bits", fmt::format("target {} stores weights unquantized", target));
  try {
    parse_estimator(estimator, weight_bits == 1 ? 1 : 4);
  } catch (const Error& error) {
    keys.problem("estimator", error.what());
  }
  check_global_scale(*this, *chosen, keys);
  if (bitnet()) return check_bitnet(*this, *chosen, keys);
  check_rotation(*this, *chosen, keys);
  if (chosen->grid) check_fixed(*this, *chosen, keys);
  check_activations(*this, *chosen, keys);
  check_grids(*this, keys);
}

}  // namespace terse
