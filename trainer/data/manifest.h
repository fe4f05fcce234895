// data.json of a data folder: what it was made of, and what is in it.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace terse {

struct DataSource {
  std::string path;
  int64_t bytes = 0;
  std::string checksum;  // XXH3-64, hex
};

struct DataManifest {
  std::vector<DataSource> sources;
  int64_t asked_vocab = 0;
  double valid = 0;
  std::string given_tokenizer;     // checksum of the model that was given, "" when one was trained
  std::string tokenizer;           // checksum of tokenizer.model
  std::string train, valid_shard;  // the shards' checksums
  int64_t vocab = 0;
  int64_t train_tokens = 0;
  int64_t valid_tokens = 0;

  // Whether both were asked for the same: sources (in content) and settings, not results.
  bool same_work(const DataManifest& other) const;
  std::string to_json() const;
  // Nothing when the text is no manifest of this version.
  static std::optional<DataManifest> parse(const std::string& json);
};

}  // namespace terse
