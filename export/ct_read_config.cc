#include "export/ct_read_config.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/name_pattern.h"

namespace terse {
namespace {

using nlohmann::json;

// A value of an object that says where it stands.
class Node {
 public:
  Node(const json& value, std::string path) : value_(value), path_(std::move(path)) {}

  bool absent() const { return value_.is_null(); }
  Node at(const char* key) const {
    static const json none;
    if (!value_.is_object()) bad("is no object");
    const auto found = value_.find(key);
    return {found == value_.end() ? none : *found, fmt::format("{}.{}", path_, key)};
  }
  std::string text(const char* otherwise) const {
    if (absent()) return otherwise;
    if (!value_.is_string()) bad("is no text");
    return value_.get<std::string>();
  }
  int64_t integer(int64_t least, int64_t most, int64_t otherwise) const {
    if (absent()) return otherwise;
    const bool small = value_.is_number_integer() &&
                       !(value_.is_number_unsigned() && value_.get<uint64_t>() > INT64_MAX);
    const int64_t value = small ? value_.get<int64_t>() : least - 1;
    if (value < least || value > most) bad(fmt::format("is not in {} to {}", least, most));
    return value;
  }
  bool flag(bool otherwise) const {
    if (absent()) return otherwise;
    if (!value_.is_boolean()) bad("is neither true nor false");
    return value_.get<bool>();
  }
  bool is(const std::string& text) const {
    return value_.is_string() && value_.get_ref<const std::string&>() == text;
  }
  std::vector<std::string> texts() const {
    std::vector<std::string> all;
    if (absent()) return all;
    if (!value_.is_array()) bad("is no list");
    for (const json& one : value_) {
      if (!one.is_string()) bad("holds something else than texts");
      all.push_back(one.get<std::string>());
    }
    return all;
  }
  template <typename Visit>
  void each(const Visit& visit) const {
    if (absent()) return;
    if (!value_.is_object() && !value_.is_array()) bad("is no list");
    for (const auto& [key, one] : value_.items())
      visit(Node(one, fmt::format("{}.{}", path_, key)));
  }
  [[noreturn]] void bad(const std::string& what) const {
    fail(ExitCode::invalid_file, "{} {}", path_, what);
  }

 private:
  const json& value_;
  std::string path_;
};

// "re:.*self_attn.q_proj$" as a pattern of '*': readers match from the start, not to the end.
std::string pattern_of(const std::string& expression, const std::string& path) {
  std::string pattern;
  bool ends = false;
  for (size_t i = 0; i < expression.size(); ++i) {
    const char c = expression[i];
    if (ends) fail(ExitCode::invalid_file, "{}: '$' inside \"re:{}\"", path, expression);
    if (c == '^' && i == 0) continue;
    if (c == '$') {
      ends = true;
    } else if (c == '.' && i + 1 < expression.size() && expression[i + 1] == '*') {
      pattern += '*';
      ++i;
    } else if (c == '\\' && i + 1 < expression.size() && expression[i + 1] == '.') {
      pattern += '.';
      ++i;
    } else if (std::string_view("\\*+?()[]{}|").find(c) != std::string_view::npos) {
      fail(ExitCode::invalid_file,
           "{}: terse reads \".*\", \"^\" and \"$\" in patterns, not '{}' as in \"re:{}\"", path, c,
           expression);
    } else {
      pattern += c;
    }
  }
  return ends ? pattern : pattern + '*';
}

// How well a target names a module; 0 = not at all. The best one decides.
int match(const std::string& target, const std::string& module, const std::string& path) {
  if (target == module) return 3;
  if (target.starts_with("re:")) return matches(pattern_of(target.substr(3), path), module) ? 2 : 0;
  return target == "Linear" ? 1 : 0;
}

int best_match(const std::vector<std::string>& targets, const std::string& module,
               const std::string& path) {
  int best = 0;
  for (const std::string& target : targets) best = std::max(best, match(target, module, path));
  return best;
}

// Blocks of fp4, with scales of which none or only the tensor's is stored.
void read_fp4_input(const Node& input, CtReadScheme& scheme) {
  using Input = CtReadScheme::Input;
  const int64_t group = input.at("group_size").integer(1, 1 << 30, 1);
  const std::string strategy = input.at("strategy").text("tensor");
  scheme.input_bits = static_cast<int>(input.at("num_bits").integer(1, 16, 8));
  const auto is = [&](int64_t columns, const char* form, const char* scales) {
    return scheme.input_bits == 4 && group == columns && strategy == form &&
           input.at("scale_dtype").text(scales) == scales;
  };
  if (is(16, "tensor_group", "torch.float8_e4m3fn") && input.at("dynamic").is("local"))
    scheme.input = Input::nvfp4;
  else if (is(32, "group", "torch.uint8") && input.at("dynamic").flag(false))
    scheme.input = Input::mxfp4;
  else
    input.bad("is neither nvfp4 nor mxfp4: terse cannot run it");
}

void read_input(const Node& input, CtReadScheme& scheme) {
  if (input.absent()) return;
  const std::string type = input.at("type").text("int");
  if ((type != "int" && type != "float") || !input.at("symmetric").flag(true))
    input.bad("is not symmetric int or fp4: terse cannot run it");
  if (type == "float") return read_fp4_input(input, scheme);
  scheme.input_bits = static_cast<int>(input.at("num_bits").integer(2, 8, 8));
  const std::string strategy = input.at("strategy").text("tensor");
  const bool dynamic = input.at("dynamic").flag(false);
  const bool fixed = strategy == "tensor" && !dynamic;
  scheme.input = fixed ? CtReadScheme::Input::tensor : CtReadScheme::Input::token;
  if (!fixed && !(strategy == "token" && dynamic))
    input.bad("is neither dynamic a token nor static for the tensor: terse cannot run it");
}

void read_layout(const Node& group, const std::string& format, const Node& weights,
                 CtReadScheme& scheme) {
  const bool is_float = weights.at("type").text("int") == "float";
  const std::string strategy = weights.at("strategy").text("tensor");
  scheme.bits = static_cast<int>(weights.at("num_bits").integer(1, 8, 8));
  scheme.group = strategy == "channel"  ? 0
                 : strategy == "tensor" ? -1
                                        : weights.at("group_size").integer(1, 1 << 30, 0);
  const bool grouped = strategy == "group" || strategy == "tensor_group";
  if (scheme.group > 0 && !grouped) weights.bad("has an unknown strategy");
  if (scheme.group == 0 && strategy != "channel") weights.bad("has no group_size");
  const auto fp4 = [&](int64_t columns) {
    return is_float && scheme.bits == 4 && scheme.group == columns;
  };
  if (format == "pack-quantized" && !is_float)
    scheme.layout = CtReadScheme::Layout::packed;
  else if (format == "int-quantized" && !is_float)
    scheme.layout = CtReadScheme::Layout::int8;
  else if (format == "nvfp4-pack-quantized" && fp4(16))
    scheme.layout = CtReadScheme::Layout::nvfp4;
  else if (format == "mxfp4-pack-quantized" && fp4(32))
    scheme.layout = CtReadScheme::Layout::mxfp4;
  else
    group.bad(fmt::format("is stored as \"{}\": terse cannot read that", format));
}

CtReadScheme read_scheme(const Node& group, const std::string& format) {
  CtReadScheme scheme;
  const Node weights = group.at("weights");
  if (weights.absent() || !group.at("output_activations").absent())
    group.bad("rounds outputs, or no weights: terse cannot run it");
  if (!weights.at("symmetric").flag(true) || weights.at("dynamic").flag(false))
    weights.bad("is asymmetric or dynamic: terse cannot run it");
  read_layout(group, group.at("format").text(format.c_str()), weights, scheme);
  read_input(group.at("input_activations"), scheme);
  return scheme;
}

int64_t read_block(const Node& group) {
  if (group.at("type").text("") != "hadamard" || group.at("randomize").flag(false))
    group.bad("is no plain Hadamard transform: terse cannot run it");
  const int64_t block = group.at("head_dim").integer(1, 1 << 20, -1);
  if (block > 0 && (block & (block - 1)) != 0) group.bad("has no power of two as head_dim");
  return block;
}

}  // namespace

CtReadConfig::CtReadConfig(const std::string& text, const std::string& path)
    : path_(fmt::format("{}: quantization_config", path)) {
  const json value = json::parse(text, nullptr, false);
  const Node root(value, path_);
  if (root.at("quant_method").text("") != "compressed-tensors")
    root.at("quant_method").bad("is not compressed-tensors");
  if (root.at("quantization_status").text("") != "compressed")
    root.at("quantization_status").bad("is not compressed");
  if (!root.at("kv_cache_scheme").absent()) root.at("kv_cache_scheme").bad("is not supported");
  ignore_ = root.at("ignore").texts();
  read_groups(value);
  read_transforms(value);
}

void CtReadConfig::read_groups(const json& value) {
  const Node root(value, path_);
  const std::string format = root.at("format").text("");
  root.at("config_groups").each([&](const Node& group) {
    groups_.push_back({group.at("targets").texts(), ignore_, read_scheme(group, format)});
  });
}

void CtReadConfig::read_transforms(const json& value) {
  const Node root(value, path_);
  const Node transforms = root.at("transform_config");
  if (transforms.absent()) return;
  transforms.at("config_groups").each([&](const Node& group) {
    const int64_t block = read_block(group);
    group.at("apply").each([&](const Node& apply) {
      if (apply.at("location").text("") != "input")
        apply.bad("transforms something else than the input: terse cannot run it");
      transforms_.push_back({apply.at("targets").texts(), apply.at("ignore").texts(), {}, block});
    });
  });
}

const CtReadScheme* CtReadConfig::scheme_of(const std::string& module) const {
  const CtReadScheme* scheme = nullptr;
  int best = 0;
  if (best_match(ignore_, module, path_) > 0) return nullptr;
  for (const Group& group : groups_) {
    const int found = best_match(group.targets, module, path_);
    if (found <= best) continue;
    best = found;
    scheme = &group.scheme;
  }
  return scheme;
}

int64_t CtReadConfig::hadamard_of(const std::string& module) const {
  int64_t block = 0;
  for (const Group& transform : transforms_) {
    if (best_match(transform.targets, module, path_) == 0 ||
        best_match(transform.ignore, module, path_) > 0)
      continue;
    if (block != 0) fail(ExitCode::invalid_file, "{}: {} is transformed twice", path_, module);
    block = transform.hadamard;
  }
  return block;
}

}  // namespace terse
