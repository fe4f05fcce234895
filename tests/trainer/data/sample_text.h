// Text with enough variety for a small tokenizer, the same at every call.
#pragma once
#include <cstdint>
#include <string>

namespace terse {

inline std::string sample_text(int lines) {
  const char* words[] = {"light",   "darkness", "waters", "earth",  "heaven",  "and",     "the",
                         "of",      "upon",     "there",  "was",    "evening", "morning", "day",
                         "created", "Naïve",    "straße", "日本語", "12",      "said,",   "let"};
  uint64_t state = 1;
  std::string text;
  for (int line = 0; line < lines; ++line) {
    for (int word = 0; word < 9; ++word) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      if (word > 0) text += ' ';
      text += words[(state >> 33) % std::size(words)];
    }
    text += ".\n";
  }
  return text;
}

}  // namespace terse
