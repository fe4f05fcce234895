#include "qat/options.h"

#include "base/error.h"
#include "qat/estimator.h"
#include "qat/targets.h"

namespace terse {
namespace {

const std::vector<std::string>& grids() {
  static const std::vector<std::string> names = {"", "half_int", "int_signed", "int_symmetric"};
  return names;
}

bool power_of_two_or_off(int64_t block) {
  return block <= 0 || (block & (block - 1)) == 0;
}

// A target with a grid of its own leaves nothing to choose; say which value it has.
void check_fixed(const QatOptions& options, const Target& target, Keys& keys) {
  const CodeFormat& format = target.grid->format;
  const auto fixed = [&](const char* key, const std::string& value) {
    keys.problem(key, fmt::format("target {} fixes {} = {}; leave the key out, or set target = "
                                  "\"none\" to choose it",
                                  target.name, key, value));
  };
  if (options.weight_bits != 0 && options.weight_bits != format.bits)
    fixed("weight_bits", std::to_string(format.bits));
  if (!options.grid.empty() && options.grid != format.grid && options.act_bits >= 16)
    fixed("grid", format.grid);
  if (options.group >= 0 && options.group != format.group)
    fixed("group", std::to_string(format.group));
}

}  // namespace

void QatOptions::bind(Keys& keys) {
  std::vector<std::string> names = target_names();
  names.insert(names.begin(), "");
  keys.choice("target", target, names,
              "engine format to serve in; fixes the grid; \"none\": the keys below choose; \"\": "
              "no quantization");
  keys.integer("weight_bits", weight_bits, 0, 16,
               "bits of a weight, 1 to 8; 0 = decided by target; 16 = not quantized");
  keys.integer("act_bits", act_bits, 1, 16, "bits of an activation, 1 to 8; 16 = not quantized");
  keys.choice("grid", grid, grids(), "grid of weights (unless target fixes it) and activations");
  keys.integer("group", group, -1, 1 << 20,
               "columns that share a scale; 0 = a row; -1 = decided by target");
  keys.integer("hadamard", hadamard, -1, 1 << 14,
               "block of the rotation before quantizing; 0 = off; -1 = 128 where the reader can");
  keys.text("estimator", estimator,
            "gradient through the quantizer: trust, clip, straight_through, trust(S), clip(K); "
            "\"\" = trust, at 1 bit clip");
  keys.texts("targets", targets, "name patterns of layers to quantize ('*' matches); empty = all");
  keys.texts("ignore", ignore, "name patterns of layers to leave alone");
}

void QatOptions::check(Keys& keys) const {
  if (!enabled()) {
    if (weight_bits != 0 || act_bits != 16 || !grid.empty())
      keys.problem("target",
                   "is missing though [qat] asks for bits or a grid; set target = "
                   "\"none\" or an engine format");
    return;
  }
  const Target* chosen = find_target(target);
  if (chosen == nullptr) return;  // bind reported it
  const auto bits_allowed = [](int64_t bits) { return (bits >= 1 && bits <= 8) || bits == 16; };
  if (weight_bits != 0 && !bits_allowed(weight_bits))
    keys.problem("weight_bits", "possible: 1 to 8, or 16 for unquantized weights");
  if (!bits_allowed(act_bits))
    keys.problem("act_bits", "possible: 1 to 8, or 16 for unquantized activations");
  if (grid == "int_symmetric" && (weight_bits == 1 || act_bits == 1))
    keys.problem("grid", "int_symmetric has no 1-bit form; possible: half_int, int_signed");
  if (!power_of_two_or_off(hadamard)) keys.problem("hadamard", "must be a power of two, or 0");
  if (!chosen->rotates && hadamard > 1)
    keys.problem("hadamard", fmt::format("readers of {} cannot rotate activations; leave the key "
                                         "out or set 0",
                                         target));
  if (!chosen->quantizes && weight_bits != 0 && weight_bits != 16)
    keys.problem("weight_bits", fmt::format("target {} stores weights unquantized", target));
  if (chosen->grid) check_fixed(*this, *chosen, keys);
  try {
    parse_estimator(estimator, weight_bits == 1 ? 1 : 4);
  } catch (const Error& error) {
    keys.problem("estimator", error.what());
  }
}

}  // namespace terse
