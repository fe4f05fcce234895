#include "trainer/checkpoint/manifest.h"

#include <fmt/format.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "base/checksum.h"
#include "base/error.h"

namespace terse {
namespace {

using Json = nlohmann::json;
constexpr std::string_view kSeal = "checksum ";

uint64_t checksum_of(std::string_view text) {
  return checksum({reinterpret_cast<const std::byte*>(text.data()), text.size()});
}

uint64_t parse_hex(const std::string& text) {
  return std::strtoull(text.c_str(), nullptr, 16);
}

// The JSON part, once the seal in the last line was found to hold.
std::string_view unseal(std::string_view text, const std::string& path) {
  const size_t at = text.rfind(kSeal);
  if (at == std::string_view::npos || text.size() != at + kSeal.size() + 17)
    fail(ExitCode::invalid_file, "{}: no checksum in its last line: the file is cut off", path);
  const std::string_view body = text.substr(0, at);
  if (text.substr(at + kSeal.size(), 16) != checksum_hex(checksum_of(body)) || text.back() != '\n')
    fail(ExitCode::invalid_file, "{}: its content does not match its checksum", path);
  return body;
}

}  // namespace

std::string Manifest::text() const {
  Json json;
  json["format"] = "terse checkpoint";
  json["version"] = version;
  json["step"] = step;
  json["ranks"] = ranks;
  for (const ManifestFile& file : files)
    json["files"].push_back(
        {{"name", file.name}, {"size", file.size}, {"xxh3", checksum_hex(file.checksum)}});
  json["integers"] = integers;
  json["texts"] = texts;
  json["numbers"] = Json::object();
  for (const auto& [name, value] : numbers) json["numbers"][name] = fmt::format("{:a}", value);
  const std::string body = json.dump(1) + "\n";
  return fmt::format("{}{}{}\n", body, kSeal, checksum_hex(checksum_of(body)));
}

Manifest Manifest::parse(const std::string& text, const std::string& path) {
  const std::string_view body = unseal(text, path);
  try {
    const Json json = Json::parse(body);
    Manifest m;
    m.version = json.at("version").get<int64_t>();
    if (json.at("format") != "terse checkpoint" || m.version != 1)
      fail(ExitCode::invalid_file, "{}: version {} is not known to this program, which reads 1",
           path, m.version);
    m.step = json.at("step").get<int64_t>();
    m.ranks = json.at("ranks").get<int64_t>();
    for (const Json& file : json.at("files"))
      m.files.push_back({file.at("name").get<std::string>(), file.at("size").get<int64_t>(),
                         parse_hex(file.at("xxh3").get<std::string>())});
    for (const auto& [name, value] : json.at("integers").items())
      m.integers[name] = value.get<int64_t>();
    for (const auto& [name, value] : json.at("texts").items())
      m.texts[name] = value.get<std::string>();
    for (const auto& [name, value] : json.at("numbers").items())
      m.numbers[name] = std::strtod(value.get<std::string>().c_str(), nullptr);
    return m;
  } catch (const Json::exception& error) {
    fail(ExitCode::invalid_file, "{}: {}", path, error.what());
  }
}

}  // namespace terse
