#include <sentencepiece_trainer.h>

#include <algorithm>
#include <unordered_map>

#include "base/error.h"
#include "trainer/data/tokenizer.h"

namespace terse {
namespace {

constexpr size_t kMostBytes = 64 << 20;
constexpr size_t kLongestSentence = 4000;  // bytes; sentencepiece drops what is much longer

// The texts as sentences: lines, long ones cut in front of a space or at least between characters.
// Of texts beyond kMostBytes every k-th sentence.
class Sentences final : public sentencepiece::SentenceIterator {
 public:
  explicit Sentences(const std::vector<std::string_view>& texts) : texts_(texts) {
    size_t bytes = 0;
    for (const std::string_view text : texts) bytes += text.size();
    stride_ = bytes / kMostBytes + 1;
    Next();
  }
  bool done() const override { return done_; }
  void Next() override {
    for (size_t i = 0; i < stride_ && !done_; ++i) advance();
  }
  const std::string& value() const override { return sentence_; }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  void advance() {
    while (rest_.empty()) {
      if (text_ == texts_.size()) {
        done_ = true;
        return;
      }
      rest_ = texts_[text_++];
    }
    const size_t line = std::min(rest_.find('\n'), rest_.size());
    const size_t length = line <= kLongestSentence ? line : cut(rest_.substr(0, kLongestSentence));
    sentence_ = rest_.substr(0, length);
    rest_.remove_prefix(length == line ? std::min(line + 1, rest_.size()) : length);
  }

  static size_t cut(std::string_view piece) {
    const size_t space = piece.rfind(' ');
    if (space != std::string_view::npos && space > 0) return space;
    size_t length = piece.size() - 1;
    while (length > 1 && (static_cast<unsigned char>(piece[length]) & 0xC0) == 0x80) --length;
    return length;
  }

  const std::vector<std::string_view>& texts_;
  size_t text_ = 0;
  size_t stride_ = 1;
  std::string_view rest_;
  std::string sentence_;
  bool done_ = false;
};

}  // namespace

Tokenizer Tokenizer::train(const std::vector<std::string_view>& texts, int64_t vocab) {
  const std::unordered_map<std::string, std::string> arguments = {
      {"vocab_size", std::to_string(vocab)},
      {"model_type", "bpe"},
      {"byte_fallback", "true"},
      {"normalization_rule_name", "identity"},
      {"remove_extra_whitespaces", "false"},
      {"add_dummy_prefix", "true"},
      {"allow_whitespace_only_pieces", "true"},
      {"split_digits", "true"},
      {"character_coverage", "0.99995"},
      {"unk_id", "0"},
      {"bos_id", "1"},
      {"eos_id", "2"},
      {"pad_id", "-1"},
      {"num_threads", "1"},
      {"minloglevel", "3"},
  };
  Sentences sentences(texts);
  std::string model;
  const auto status = sentencepiece::SentencePieceTrainer::Train(arguments, &sentences, &model);
  if (!status.ok())
    fail(ExitCode::usage,
         "cannot train a tokenizer of {} pieces on this text: {}. Give more text, or another "
         "vocabulary size ([data] vocab, --vocab)",
         vocab, status.ToString());
  return parse(model, "the trained tokenizer");
}

}  // namespace terse
