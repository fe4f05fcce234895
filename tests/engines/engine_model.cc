// Writes a random Llama for the engine tests: engine_model TEXT TYPE OUT.gguf OUT.model
// TYPE: q4_0, q8_0, half_int3, f32, f16 or bf16. The tokenizer is trained on TEXT as terse trains
// it.
#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

#include <cstdio>
#include <string>

#include "export/formats.h"
#include "export/llama_gguf.h"
#include "tests/export/sample_artifact.h"

namespace terse {
namespace {

constexpr int kVocab = 600;

TokenizerData train(const std::string& text, const std::string& model) {
  const std::string prefix = model.substr(0, model.size() - 6);
  const auto status = sentencepiece::SentencePieceTrainer::Train(fmt::format(
      "--input={} --model_prefix={} --vocab_size={} --model_type=bpe --byte_fallback=true "
      "--normalization_rule_name=identity --remove_extra_whitespaces=false --minloglevel=2",
      text, prefix, kVocab));
  if (!status.ok()) fail(ExitCode::invalid_file, "sentencepiece: {}", status.ToString());
  sentencepiece::SentencePieceProcessor processor;
  if (!processor.Load(model).ok()) fail(ExitCode::invalid_file, "{}: cannot be loaded", model);
  TokenizerData t;
  for (int id = 0; id < processor.GetPieceSize(); ++id) {
    const PieceType type = processor.IsUnknown(id)   ? PieceType::unknown
                           : processor.IsControl(id) ? PieceType::control
                           : processor.IsByte(id)    ? PieceType::byte
                                                     : PieceType::normal;
    t.pieces.push_back({processor.IdToPiece(id), processor.GetScore(id), type});
  }
  t.bos = processor.bos_id();
  t.eos = processor.eos_id();
  t.unk = processor.unk_id();
  return t;
}

void write(const std::string& text, const std::string& type, const std::string& gguf,
           const std::string& model) {
  SampleOptions options;
  options.shape = {.layers = 2,
                   .width = 128,
                   .heads = 4,
                   .kv_heads = 2,
                   .hidden = 192,
                   .context = 128,
                   .vocab = kVocab,
                   .tie = false,
                   .rope_theta = 10000.0,
                   .norm_eps = 1e-5};
  options.weights = type;
  if (type == "f32") options.dense = DType::f32;
  if (type == "f16") options.dense = DType::f16;
  Artifact artifact = sample_artifact(options);
  artifact.tokenizer = train(text, model);
  write_gguf(FileSystem::real(), artifact, "", gguf);
}

}  // namespace
}  // namespace terse

int main(int argc, char** argv) try {
  if (argc != 5) {
    std::fprintf(stderr, "engine_model TEXT TYPE OUT.gguf OUT.model\n");
    return 2;
  }
  terse::write(argv[1], argv[2], argv[3], argv[4]);
  return 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "engine_model: %s\n", e.what());
  return 1;
}
