// One entry of a sentencepiece vocabulary, as tokenizers make it and engine formats store it.
#pragma once
#include <cstdint>
#include <string>

namespace terse {

// The values of sentencepiece's model file, and of GGUF's token types.
enum class PieceType : int32_t {
  normal = 1,
  unknown = 2,
  control = 3,
  user = 4,
  unused = 5,
  byte = 6
};

struct TokenPiece {
  std::string text;  // as sentencepiece has it (spaces are U+2581); bytes as "<0x0A>"
  float score = 0.0f;
  PieceType type = PieceType::normal;
  bool operator==(const TokenPiece&) const = default;
};

}  // namespace terse
