// Splits packed projections into heads and rotates queries and keys (rotary embedding, Su et al.
// 2021, arXiv 2104.09864) in Hugging Face's half-split order: a head (a, b) of two halves at
// position t becomes (a cos - b sin, b cos + a sin) with angle t theta^(-2 i / head) for coordinate
// i of a half.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>

namespace terse {

struct RotaryTable {
  at::Tensor cosine, sine;  // fp32 [positions, head / 2]
};
// Angles are computed in fp64.
RotaryTable rotary_table(int64_t positions, int64_t head, double theta, at::Device device);

struct Heads {
  at::Tensor q;     // [batch, heads, length, head]
  at::Tensor k, v;  // [batch, kv_heads, length, head]
};

// qkv: [batch, length, (heads + 2 kv_heads) head] in fp32 or bf16, a row being q, k, v; positions
// are 0 .. length - 1. Rotates in fp32, rounds once. Differentiable in qkv; keeps nothing but the
// table.
Heads rotary_split(const at::Tensor& qkv, const RotaryTable& table, int64_t heads,
                   int64_t kv_heads);

// The same from ATen operations, on any device.
Heads composed_rotary_split(const at::Tensor& qkv, const RotaryTable& table, int64_t heads,
                            int64_t kv_heads);

}  // namespace terse
