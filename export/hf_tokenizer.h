// Internal: a sentencepiece BPE vocabulary as the files that transformers (AutoTokenizer) opens.
//
// tokenizer.json (Hugging Face's "tokenizers") cuts text into the ids of sentencepiece, by the same
// merges: those of pieces with higher scores first, then bytes for characters that no piece has.
// One difference is transformers' own: special tokens written out in a text ("</s>") become their
// ids.
#pragma once
#include <string>

#include "export/artifact.h"

namespace terse {

std::string hf_tokenizer(const TokenizerData& tokenizer);  // tokenizer.json
// tokenizer_config.json. `context`: the model's longest text.
std::string hf_tokenizer_config(const TokenizerData& tokenizer, int64_t context);

}  // namespace terse
