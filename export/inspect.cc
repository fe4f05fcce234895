#include "export/inspect.h"

#include <unistd.h>

#include <cstring>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file_system.h"
#include "export/inspect_parts.h"

namespace terse {
namespace {

constexpr size_t kLongText = 200;

double per_weight(int64_t bytes, int64_t parameters) {
  return parameters == 0 ? 0.0 : 8.0 * static_cast<double>(bytes) / static_cast<double>(parameters);
}

}  // namespace

int64_t InspectTensor::elements() const {
  int64_t n = 1;
  for (int64_t d : shape) n *= d;
  return n;
}

double InspectTensor::bits_per_weight() const {
  return per_weight(bytes, elements());
}

std::string shortened(std::string text) {
  if (text.size() <= kLongText) return text;
  size_t end = kLongText;
  while (end > 0 && (static_cast<uint8_t>(text[end]) & 0xc0) == 0x80) --end;
  return fmt::format("{}... ({} bytes)", text.substr(0, end), text.size());
}

bool starts_with_bytes(const std::string& path, size_t at, std::string_view bytes) {
  if (::access((path + "/.").c_str(), F_OK) == 0) return false;  // a folder
  const MappedFile file(path);
  const auto all = file.bytes();
  return all.size() >= at + bytes.size() &&
         std::memcmp(all.data() + at, bytes.data(), bytes.size()) == 0;
}

std::string code_type(const CodeFormat& format) {
  if (format.grid != "fp4") return fmt::format("INT{}", format.bits);
  if (format.scale_type == ScaleType::e4m3) return "NVFP4";
  return format.scale_type == ScaleType::e8m0 ? "MXFP4" : "FP4";
}

int64_t file_bytes(const std::string& path) {
  return static_cast<int64_t>(MappedFile(path).bytes().size());
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
    if (!t.input.empty()) text += fmt::format("     input {}\n", t.input);
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
    if (!t.input.empty()) tensor["input"] = t.input;
    for (const auto& [code, count] : t.histogram) tensor["codes"][fmt::format("{}", code)] = count;
    json["tensors"].push_back(std::move(tensor));
  }
  // Foreign names need not be UTF-8.
  return json.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

}  // namespace terse
