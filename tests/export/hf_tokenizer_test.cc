// tokenizer.json; tests/engines has transformers cut texts by it.
#include "export/hf_tokenizer.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace terse {
namespace {

using nlohmann::json;

TokenizerData data() {
  TokenizerData t;
  t.pieces = {{"<unk>", 0, PieceType::unknown}, {"<s>", 0, PieceType::control},
              {"</s>", 0, PieceType::control},  {"<0x41>", 0, PieceType::byte},
              {"bc", -0.0f, PieceType::normal}, {"abc", -1, PieceType::normal},
              {"ab", -2, PieceType::normal},    {"a", -3, PieceType::normal},
              {"b", -4, PieceType::normal},     {"c", -5, PieceType::normal}};
  t.unk = 0;
  t.bos = 1;
  t.eos = 2;
  return t;
}

TEST(HfTokenizer, MergesComeByScore) {
  const json model = json::parse(hf_tokenizer(data()))["model"];
  EXPECT_EQ(model["merges"], json::parse(R"([["b","c"],["a","bc"],["ab","c"],["a","b"]])"));
  EXPECT_EQ(model["vocab"]["<0x41>"], 3);
  EXPECT_EQ(model["vocab"].size(), 10u);
  EXPECT_EQ(model["byte_fallback"], true);
}

TEST(HfTokenizer, SpecialTokensStandInFront) {
  const json whole = json::parse(hf_tokenizer(data()));
  EXPECT_EQ(whole["added_tokens"].size(), 3u);
  EXPECT_EQ(whole["post_processor"]["special_tokens"]["<s>"]["ids"], json::array({1}));
  TokenizerData none = data();
  none.bos = -1;
  EXPECT_TRUE(json::parse(hf_tokenizer(none))["post_processor"].is_null());
  none.add_space_prefix = false;
  EXPECT_EQ(json::parse(hf_tokenizer(none))["normalizer"]["normalizers"].size(), 1u);
  const json config = json::parse(hf_tokenizer_config(data(), 64));
  EXPECT_EQ(config["bos_token"], "<s>");
  EXPECT_EQ(config["model_max_length"], 64);
  EXPECT_FALSE(config.contains("pad_token"));
}

}  // namespace
}  // namespace terse
