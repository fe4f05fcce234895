// Artifact: a trained model as a file writer sees it, and as it is read back from a file.
//
// Weights of a Llama carry Hugging Face's names, one a matrix (q_proj, k_proj, ...: packed
// projections are split by whoever fills this, with Codes::row_slice) and are made on demand, so
// that writing needs memory for one tensor. All data is what the forward pass multiplied with:
// dense weights in the compute type, compressed ones as the Codes of the final checkpoint.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/tensor_view.h"
#include "base/token_piece.h"
#include "export/byte_source.h"
#include "export/safetensors.h"
#include "export/shapes.h"
#include "qat/codes.h"
#include "qat/input_format.h"

namespace terse {

// A sentencepiece BPE model. Without pieces the file gets no tokenizer (ids in, ids out).
struct TokenizerData {
  std::vector<TokenPiece> pieces;                  // by id; `vocab` of them
  int64_t bos = -1, eos = -1, unk = -1, pad = -1;  // -1: none
  bool add_bos = true;
  bool add_space_prefix = true;  // sentencepiece's add_dummy_prefix
  std::string model;             // the bytes of tokenizer.model; empty where it is not known
};

struct ArtifactWeight {
  std::string name;            // "model.layers.0.self_attn.q_proj.weight"
  std::vector<int64_t> shape;  // [rows, columns], or [n]
  // Exactly one of the two kinds:
  // dense: `bytes` in `dtype` (f32, f16 or bf16), row-major;
  DType dtype = DType::f32;
  ByteSource bytes;
  std::string pattern = "";  // whose zeros the data hold: "2:4" (sparsity/pattern.h); "" = none
  // compressed: `codes` makes the Codes, whose format is known beforehand.
  std::optional<CodeFormat> format;
  std::function<Codes()> codes;
  // What becomes of the product's other side, in the space of the codes; empty: it is not rounded,
  // or the file that this was read from does not say how.
  std::optional<InputFormat> input = std::nullopt;

  bool compressed() const { return format.has_value(); }
};

struct Artifact {
  LlamaShape shape;             // means nothing where there is a `vit`
  std::optional<VitShape> vit;  // a vision transformer; no tokenizer then
  TokenizerData tokenizer;
  std::vector<ArtifactWeight> weights;  // in forward order; names unique
  int64_t act_bits = 16;  // of training's activations, whether or not the weights say how
  Metadata metadata;      // recipe, run, method: written into every file
  std::shared_ptr<const void> keep;  // whatever the sources read from

  const ArtifactWeight& weight(std::string_view name) const;  // missing: Error(usage)
  // Some layer's input is rounded, as far as the weights say.
  bool rounds_inputs() const;
  // The tensors that its shape has.
  std::vector<WeightName> names() const;
  // Each of them is present once with its shape; Error(invalid_file) otherwise.
  void validate() const;
};

// The fp32 values that the forward multiplied with, in the stored (rotated) space: decoded codes,
// or the dense data widened. Memory: numel floats.
std::vector<float> effective_values(const ArtifactWeight& weight);

// All bytes of a dense weight. Error(invalid_file) if its source gives another number.
std::vector<std::byte> dense_bytes(const ArtifactWeight& weight);

// Widens f32, f16 or bf16 data to fp32, exactly.
void widen_to_float(DType dtype, std::span<const std::byte> bytes, float* out);

// A dense weight over memory that outlives it; a compressed weight that shares `codes`.
ArtifactWeight dense_weight(std::string name, TensorView view);
ArtifactWeight compressed_weight(std::string name, const std::shared_ptr<const Codes>& codes);

}  // namespace terse
