// A tokenizer as exported files carry it.
#pragma once
#include "export/artifact.h"
#include "trainer/data/tokenizer.h"

namespace terse {

inline TokenizerData tokenizer_data(const Tokenizer& tokenizer) {
  TokenizerData data;
  data.pieces = tokenizer.pieces();
  data.bos = tokenizer.bos();
  data.eos = tokenizer.eos();
  data.unk = tokenizer.unknown();
  data.model = tokenizer.model();
  return data;
}

}  // namespace terse
