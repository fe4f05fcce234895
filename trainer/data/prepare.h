// From text files to a data folder: tokenizer.model, train.bin, valid.bin (token shards) and
// data.json, which is written last and says what the folder was made of.
//
// Each text is one document. Its last part, cut at a line end, goes to validation; the tokenizer is
// trained on the rest. A document in a shard ends with the end token. Text must be UTF-8.
//
// When the folder holds the same work already (sources equal in size and content, same settings,
// shards in order) nothing is done. Writes are atomic: a killed run leaves the old folder or a
// folder without a valid data.json. Not safe for two writers of one folder at once.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/file_system.h"

namespace terse {

struct PrepareOptions {
  std::vector<std::string> texts;
  std::string out;
  int64_t vocab = 4096;
  double valid = 0.05;    // fraction of each text
  std::string tokenizer;  // a sentencepiece model to use instead of training one
  int64_t context = 1;    // tokens of one sequence; each text's two parts must hold at least one
};

struct DataSummary {
  bool reused = false;  // everything was there already
  int64_t source_bytes = 0;
  int64_t vocab = 0;
  int64_t train_tokens = 0;
  int64_t valid_tokens = 0;
  std::string to_text() const;  // one line
  std::string to_json() const;
};

// What is going on ("tokenizer", "tokens") and how far it is, 0 to 1.
using PrepareProgress = std::function<void(const std::string& what, double fraction)>;

// Errors: Error(invalid_file) for a text that is missing, empty, not UTF-8 or shorter than one
// sequence; Error(usage) for settings that cannot work, such as a vocabulary larger than the text.
DataSummary prepare_data(const PrepareOptions& options, const PrepareProgress& progress = {},
                         FileSystem& fs = FileSystem::real());

}  // namespace terse
