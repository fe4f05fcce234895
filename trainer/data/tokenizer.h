// The tokenizer: sentencepiece, BPE with byte fallback, trained on the text itself or loaded.
//
// Trained so that llama.cpp cuts text into the same ids (model "llama"): no Unicode normalization,
// no removal of spaces, a dummy space in front, ids 0 unknown, 1 begin, 2 end, 3..258 the bytes.
// Training is deterministic. The text of a piece writes a space as U+2581.
//
// Decoding gives back the bytes that were encoded, with three exceptions of sentencepiece's own: a
// malformed UTF-8 byte comes back as U+FFFD, U+2581 as a space, and one leading space is added on
// the way in and taken off on the way out. Const methods may run on several threads at once.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/token_piece.h"

namespace terse {

class Tokenizer {
 public:
  // Trains on `texts` (at most about 64 MiB of them, evenly spread). Takes about a second a
  // megabyte. Errors: Error(usage) when the text cannot fill `vocab` pieces, saying how many it
  // can.
  static Tokenizer train(const std::vector<std::string_view>& texts, int64_t vocab);
  // Errors: Error(invalid_file) naming the path.
  static Tokenizer load(const std::string& path);
  static Tokenizer parse(std::string_view model, const std::string& origin);

  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  int64_t vocab() const;
  int32_t unknown() const;  // -1 where the model has none; so for the next two
  int32_t bos() const;
  int32_t eos() const;
  // The model file's bytes, to be written as tokenizer.model.
  const std::string& model() const;
  std::vector<TokenPiece> pieces() const;

  // Neither begin nor end token is added. Long texts are cut at line ends and shared among the
  // threads; the ids are those of encoding the text in one piece. About 5 MB/s a thread.
  std::vector<int32_t> encode(std::string_view text) const;
  // Calls `progress(bytes done)` now and then, on the calling thread.
  std::vector<int32_t> encode(std::string_view text,
                              const std::function<void(int64_t)>& progress) const;
  std::string decode(const std::vector<int32_t>& ids) const;

 private:
  struct Impl;
  explicit Tokenizer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Where `text` stops being valid UTF-8, or -1.
int64_t first_malformed_utf8(std::string_view text);

}  // namespace terse
