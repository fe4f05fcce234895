#include "trainer/data/prepare.h"

#include <algorithm>
#include <optional>
#include <string_view>

#include "base/checksum.h"
#include "base/error.h"
#include "trainer/data/manifest.h"
#include "trainer/data/shard.h"
#include "trainer/data/tokenizer.h"

namespace terse {
namespace {

struct Document {
  std::string path;
  MappedFile file;
  std::string_view train;
  std::string_view valid;
};

std::string_view text_of(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

std::string checksum_of(std::string_view text) {
  return checksum_hex(checksum(std::as_bytes(std::span(text))));
}

void check_settings(const PrepareOptions& options) {
  if (options.texts.empty())
    fail(ExitCode::usage, "no text to prepare: name at least one file ([data] text)");
  if (options.out.empty())
    fail(ExitCode::usage, "no folder to write the prepared data to ([data] dir, --out)");
  if (!(options.valid > 0 && options.valid < 1))
    fail(ExitCode::usage, "the validation fraction must lie between 0 and 1, not be {}",
         options.valid);
}

// The split: behind the line end nearest to the wanted place, or at a character's beginning.
size_t split_point(std::string_view text, double valid) {
  const auto want = static_cast<size_t>(static_cast<double>(text.size()) * (1 - valid));
  const size_t line = text.rfind('\n', want);
  if (line != std::string_view::npos && line > want / 2) return line + 1;
  size_t place = want;
  while (place > 0 && (static_cast<unsigned char>(text[place]) & 0xC0) == 0x80) --place;
  return place;
}

Document read_document(const std::string& path, const PrepareOptions& options) {
  Document document{path, MappedFile(path), {}, {}};
  const std::string_view text = text_of(document.file);
  if (text.empty()) fail(ExitCode::invalid_file, "{}: the text is empty", path);
  if (const int64_t place = first_malformed_utf8(text); place >= 0)
    fail(ExitCode::invalid_file, "{}: not UTF-8 at byte {}; convert it first, e.g. with iconv",
         path, place);
  // A token is at least a byte: what is too short in bytes is too short in tokens.
  if (static_cast<int64_t>(text.size()) < options.context)
    fail(ExitCode::invalid_file,
         "{}: the text of {} bytes is shorter than one sequence of {} tokens; give more text, or a "
         "shorter [model] context",
         path, text.size(), options.context);
  const size_t split = split_point(text, options.valid);
  document.train = text.substr(0, split);
  document.valid = text.substr(split);
  return document;
}

DataManifest asked(const std::vector<Document>& documents, const PrepareOptions& options) {
  DataManifest manifest;
  for (const Document& document : documents) {
    const std::string_view text = text_of(document.file);
    manifest.sources.push_back(
        {document.path, static_cast<int64_t>(text.size()), checksum_of(text)});
  }
  manifest.asked_vocab = options.vocab;
  manifest.valid = options.valid;
  if (!options.tokenizer.empty())
    manifest.given_tokenizer = checksum_of(read_text(options.tokenizer));
  return manifest;
}

bool shard_is(const std::string& path, int64_t tokens, const std::string& checksum) {
  const TokenShard shard(path);
  shard.verify();
  return shard.count() == tokens && checksum_hex(shard.checksum()) == checksum;
}

// The folder's manifest, when the folder holds the outcome of the same work.
std::optional<DataManifest> finished(const DataManifest& work, const std::string& out) {
  try {
    const auto found = DataManifest::parse(read_text(out + "/data.json"));
    if (found && found->same_work(work) &&
        checksum_of(read_text(out + "/tokenizer.model")) == found->tokenizer &&
        shard_is(out + "/train.bin", found->train_tokens, found->train) &&
        shard_is(out + "/valid.bin", found->valid_tokens, found->valid_shard))
      return found;
  } catch (const Error&) {
    // Missing or damaged files are what preparing again is for.
  }
  return std::nullopt;
}

Tokenizer make_tokenizer(const std::vector<Document>& documents, const PrepareOptions& options) {
  if (!options.tokenizer.empty()) return Tokenizer::load(options.tokenizer);
  std::vector<std::string_view> texts;
  for (const Document& document : documents) texts.push_back(document.train);
  return Tokenizer::train(texts, options.vocab);
}

std::vector<int32_t> tokens_of(const std::vector<Document>& documents,
                               std::string_view Document::*part, const Tokenizer& tokenizer,
                               const std::function<void(int64_t)>& done) {
  std::vector<int32_t> tokens;
  int64_t before = 0;
  for (const Document& document : documents) {
    const std::string_view text = document.*part;
    const std::vector<int32_t> ids =
        tokenizer.encode(text, [&](int64_t bytes) { done(before + bytes); });
    tokens.insert(tokens.end(), ids.begin(), ids.end());
    if (tokenizer.eos() >= 0) tokens.push_back(tokenizer.eos());
    before += static_cast<int64_t>(text.size());
  }
  return tokens;
}

void require_sequence(const std::vector<int32_t>& tokens, const char* part,
                      const std::vector<Document>& documents, const PrepareOptions& options) {
  if (static_cast<int64_t>(tokens.size()) < options.context)
    fail(ExitCode::invalid_file,
         "{}{}: the {} part has {} tokens, fewer than one sequence of {}; give more text, another "
         "validation fraction ([data] valid), or a shorter [model] context",
         documents.front().path, documents.size() > 1 ? " and others" : "", part, tokens.size(),
         options.context);
}

DataSummary summary_of(const DataManifest& manifest, bool reused) {
  DataSummary summary;
  summary.reused = reused;
  for (const DataSource& source : manifest.sources) summary.source_bytes += source.bytes;
  summary.vocab = manifest.vocab;
  summary.train_tokens = manifest.train_tokens;
  summary.valid_tokens = manifest.valid_tokens;
  return summary;
}

}  // namespace

DataSummary prepare_data(const PrepareOptions& options, const PrepareProgress& progress,
                         FileSystem& fs) {
  check_settings(options);
  const auto report = [&](const char* what, double fraction) {
    if (progress) progress(what, fraction);
  };
  std::vector<Document> documents;
  for (const std::string& path : options.texts) documents.push_back(read_document(path, options));
  DataManifest manifest = asked(documents, options);
  if (const auto found = finished(manifest, options.out)) return summary_of(*found, true);

  report("tokenizer", 0);
  const Tokenizer tokenizer = make_tokenizer(documents, options);
  report("tokenizer", 1);
  int64_t bytes = 0;
  for (const Document& document : documents) bytes += static_cast<int64_t>(document.train.size());
  const auto train = tokens_of(documents, &Document::train, tokenizer, [&](int64_t done) {
    report("tokens", static_cast<double>(done) / static_cast<double>(std::max<int64_t>(bytes, 1)));
  });
  const auto valid = tokens_of(documents, &Document::valid, tokenizer, [](int64_t) {});
  require_sequence(train, "training", documents, options);
  require_sequence(valid, "validation", documents, options);

  fs.make_directories(options.out);
  fs.remove(options.out + "/data.json");  // from here on the old manifest would be wrong
  write_atomically(fs, options.out + "/tokenizer.model", tokenizer.model());
  write_shard(fs, options.out + "/train.bin", train, tokenizer.vocab());
  write_shard(fs, options.out + "/valid.bin", valid, tokenizer.vocab());
  manifest.vocab = tokenizer.vocab();
  manifest.tokenizer = checksum_of(tokenizer.model());
  manifest.train = checksum_hex(TokenShard(options.out + "/train.bin").checksum());
  manifest.valid_shard = checksum_hex(TokenShard(options.out + "/valid.bin").checksum());
  manifest.train_tokens = static_cast<int64_t>(train.size());
  manifest.valid_tokens = static_cast<int64_t>(valid.size());
  write_atomically(fs, options.out + "/data.json", manifest.to_json());
  return summary_of(manifest, false);
}

std::string DataSummary::to_text() const {
  return fmt::format("{} bytes of text, {} pieces, {} training and {} validation tokens{}",
                     source_bytes, vocab, train_tokens, valid_tokens,
                     reused ? " (already prepared)" : "");
}

std::string DataSummary::to_json() const {
  return fmt::format(
      "{{\"source_bytes\": {}, \"vocab\": {}, \"train_tokens\": {}, \"valid_tokens\": {}, "
      "\"reused\": {}}}",
      source_bytes, vocab, train_tokens, valid_tokens, reused);
}

}  // namespace terse
