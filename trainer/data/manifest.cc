#include "trainer/data/manifest.h"

#include <nlohmann/json.hpp>

#include <algorithm>

namespace terse {
namespace {

constexpr int kVersion = 1;

DataSource source_from(const nlohmann::json& json) {
  return {json.at("path"), json.at("bytes"), json.at("checksum")};
}

}  // namespace

bool DataManifest::same_work(const DataManifest& other) const {
  const auto same = [](const DataSource& a, const DataSource& b) {
    return a.bytes == b.bytes && a.checksum == b.checksum;
  };
  return std::ranges::equal(sources, other.sources, same) && asked_vocab == other.asked_vocab &&
         valid == other.valid && given_tokenizer == other.given_tokenizer;
}

std::string DataManifest::to_json() const {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const DataSource& source : sources)
    list.push_back({{"path", source.path}, {"bytes", source.bytes}, {"checksum", source.checksum}});
  const nlohmann::ordered_json json = {
      {"terse_data", kVersion},
      {"sources", list},
      {"asked_vocab", asked_vocab},
      {"valid", valid},
      {"given_tokenizer", given_tokenizer},
      {"tokenizer", tokenizer},
      {"train", train},
      {"valid_shard", valid_shard},
      {"vocab", vocab},
      {"train_tokens", train_tokens},
      {"valid_tokens", valid_tokens},
  };
  return json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

std::optional<DataManifest> DataManifest::parse(const std::string& text) {
  try {
    const nlohmann::json json = nlohmann::json::parse(text);
    if (json.at("terse_data") != kVersion) return std::nullopt;
    DataManifest manifest;
    for (const auto& source : json.at("sources")) manifest.sources.push_back(source_from(source));
    json.at("asked_vocab").get_to(manifest.asked_vocab);
    json.at("valid").get_to(manifest.valid);
    json.at("given_tokenizer").get_to(manifest.given_tokenizer);
    json.at("tokenizer").get_to(manifest.tokenizer);
    json.at("train").get_to(manifest.train);
    json.at("valid_shard").get_to(manifest.valid_shard);
    json.at("vocab").get_to(manifest.vocab);
    json.at("train_tokens").get_to(manifest.train_tokens);
    json.at("valid_tokens").get_to(manifest.valid_tokens);
    return manifest;
  } catch (const nlohmann::json::exception&) {
    return std::nullopt;  // a damaged manifest only means that the folder is prepared again
  }
}

}  // namespace terse
