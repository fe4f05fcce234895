#include "export/inspect.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "export/file_kind.h"
#include "export/gguf.h"
#include "export/safetensors.h"

namespace terse {
namespace {

constexpr size_t kLongText = 200;
constexpr size_t kManyElements = 8;

std::string shortened(std::string text) {
  if (text.size() <= kLongText) return text;
  size_t end = kLongText;
  while (end > 0 && (static_cast<uint8_t>(text[end]) & 0xc0) == 0x80) --end;  // whole characters
  return fmt::format("{}... ({} bytes)", text.substr(0, end), text.size());
}

std::string describe(const GgufArray& array) {
  return std::visit(
      [](const auto& list) {
        std::string text = "[";
        for (size_t i = 0; i < std::min(list.size(), kManyElements); ++i) {
          text += fmt::format("{}{}", i == 0 ? "" : ", ", list[i]);
        }
        if (list.size() > kManyElements) text += fmt::format(", ... {} in all", list.size());
        return text + "]";
      },
      array);
}

std::string describe(const GgufValue& value) {
  return std::visit(
      [](const auto& v) -> std::string {
        if constexpr (std::is_same_v<std::decay_t<decltype(v)>, GgufArray>)
          return describe(v);
        else
          return fmt::format("{}", v);
      },
      value);
}

template <typename File>
std::string checksum_state(const File& file) {
  if (!file.has_checksums()) return "none";
  try {
    file.verify_checksums();
    return "ok";
  } catch (const Error& e) {
    return e.what();
  }
}

// Counts codes block by block: no memory for the whole tensor.
std::map<int, int64_t> histogram(const GgufTensor& tensor, const GgufBlockInfo& info) {
  std::map<int, int64_t> counts;
  if (info.split == nullptr) return counts;
  std::array<int64_t, 256> table = {};
  std::vector<int8_t> codes(static_cast<size_t>(info.block));
  float scale = 0;
  for (size_t at = 0; at < tensor.data.size(); at += static_cast<size_t>(info.bytes)) {
    info.split(tensor.data.data() + at, codes.data(), &scale);
    for (const int8_t code : codes) ++table[static_cast<size_t>(code) + 128];
  }
  for (int code = -128; code < 128; ++code)
    if (const int64_t count = table[static_cast<size_t>(code) + 128]; count > 0)
      counts[code] = count;
  return counts;
}

Inspection inspect_gguf(const std::string& path) {
  const GgufFile file(path);
  Inspection out;
  out.format = "gguf";
  out.checksums = checksum_state(file);
  for (const auto& [key, value] : file.metadata())
    out.metadata.emplace_back(key, shortened(describe(value)));
  for (const GgufTensor& tensor : file.tensors()) {
    const GgufBlockInfo& info = *gguf_block_info(tensor.type);
    out.tensors.push_back({tensor.name, info.name, tensor.shape,
                           static_cast<int64_t>(tensor.data.size()), histogram(tensor, info)});
    out.parameters += tensor.numel();
  }
  return out;
}

Inspection inspect_safetensors(const std::string& path) {
  const SafetensorsFile file(path);
  Inspection out;
  out.format = "safetensors";
  out.checksums = checksum_state(file);
  for (const auto& [key, value] : file.metadata()) out.metadata.emplace_back(key, shortened(value));
  for (const std::string& name : file.names()) {
    const TensorView view = file.require(name);
    out.tensors.push_back({name,
                           std::string(dtype_name(view.dtype)),
                           view.shape,
                           static_cast<int64_t>(view.data.size()),
                           {}});
    out.parameters += view.numel();
  }
  return out;
}

double per_weight(int64_t bytes, int64_t parameters) {
  return parameters == 0 ? 0.0 : 8.0 * static_cast<double>(bytes) / static_cast<double>(parameters);
}

}  // namespace

double InspectTensor::bits_per_weight() const {
  int64_t n = 1;
  for (int64_t d : shape) n *= d;
  return per_weight(bytes, n);
}

Inspection inspect_file(const std::string& path) {
  const FileKind kind = file_kind(path);
  const std::string file = kind == FileKind::hf_folder ? path + "/model.safetensors" : path;
  Inspection out = kind == FileKind::gguf ? inspect_gguf(file) : inspect_safetensors(file);
  out.path = file;
  out.bytes = static_cast<int64_t>(MappedFile(file).bytes().size());
  return out;
}

std::string to_text(const Inspection& in) {
  std::string text = fmt::format(
      "{}: {}, {} tensors, {} parameters, {} bytes, {:.3f} bits a weight\n", in.path, in.format,
      in.tensors.size(), in.parameters, in.bytes, per_weight(in.bytes, in.parameters));
  text += fmt::format("checksums: {}\n", in.checksums);
  for (const auto& [key, value] : in.metadata) text += fmt::format("  {} = {}\n", key, value);
  for (const InspectTensor& t : in.tensors) {
    text +=
        fmt::format("  {:<48} {:<6} {:<14} {:>12} bytes {:>7.3f} bits\n", t.name, t.type,
                    fmt::format("[{}]", fmt::join(t.shape, ", ")), t.bytes, t.bits_per_weight());
    if (t.histogram.empty() || t.histogram.size() > 16) continue;
    text += "     codes";
    for (const auto& [code, count] : t.histogram) text += fmt::format(" {}:{}", code, count);
    text += "\n";
  }
  return text;
}

std::string to_json(const Inspection& in) {
  using nlohmann::ordered_json;
  ordered_json json = {{"path", in.path},
                       {"format", in.format},
                       {"bytes", in.bytes},
                       {"parameters", in.parameters},
                       {"bits_per_weight", per_weight(in.bytes, in.parameters)},
                       {"checksums", in.checksums},
                       {"metadata", ordered_json::object()},
                       {"tensors", ordered_json::array()}};
  for (const auto& [key, value] : in.metadata) json["metadata"][key] = value;
  for (const InspectTensor& t : in.tensors) {
    ordered_json tensor = {{"name", t.name},
                           {"type", t.type},
                           {"shape", t.shape},
                           {"bytes", t.bytes},
                           {"bits_per_weight", t.bits_per_weight()}};
    for (const auto& [code, count] : t.histogram) tensor["codes"][fmt::format("{}", code)] = count;
    json["tensors"].push_back(std::move(tensor));
  }
  // Foreign names need not be UTF-8.
  return json.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

}  // namespace terse
