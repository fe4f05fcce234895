// Causal or full attention over packed projections in tiles of 64 queries by 64 keys, with the
// rotation of queries and keys: scores live in registers and the first cache, tiles that a causal
// mask hides are never computed, and backward recomputes the probabilities from each query's
// log-sum-exp (Dao et al. 2022, arXiv 2205.14135). For processors where base/product.h is
// available. Free of torch.
#pragma once
#include <cstdint>

namespace terse {

// One sequence of packed projections, as in ops/rotary.h.
struct Sequence {
  const uint16_t* qkv;         // bf16 [length, (heads + 2 kv_heads) head]; a row is q, k, v
  const float *cosine, *sine;  // [length, head / 2]
  int64_t length, heads, kv_heads;
  int64_t head;  // a multiple of 64
  bool causal;

  int64_t row() const { return (heads + 2 * kv_heads) * head; }
  int64_t padded() const { return (length + 63) / 64 * 64; }
  // Words of memory that one call below works in, 64-byte aligned.
  int64_t scratch() const { return padded() * (8 * head + 128) + 16384 + 64 * head; }
};

// All query heads that read key head `kv`. out: bf16 [length, heads head]; lse: [heads, length],
// the log2 of the sum of 2^(score log2 e).
void tiled_attention_forward(const Sequence& s, int64_t kv, uint32_t* scratch, uint16_t* out,
                             float* lse);
// Writes this key head's share of dqkv, laid out as qkv.
void tiled_attention_backward(const Sequence& s, int64_t kv, const uint16_t* out, const float* lse,
                              const uint16_t* dout, uint32_t* scratch, uint16_t* dqkv);

}  // namespace terse
