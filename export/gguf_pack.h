// The types that the GGUF writer can make, as data: one row a type. gguf_fit.cc says what fits
// into which.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "base/tensor_view.h"
#include "export/byte_source.h"
#include "export/gguf.h"
#include "export/verdict.h"
#include "qat/codes.h"

namespace terse {

struct GgufPacking {
  GgufType type;
  const char* name;    // as in "gguf:q4_0"
  int64_t block;       // elements along the columns
  int64_t bytes;       // of a block
  uint32_t file_type;  // general.file_type of a model that is mostly of this type
  // What a block stores: integers code_min, code_min + code_step, ... code_max, and a scale for
  // each `group` elements.
  int code_min, code_max, code_step;
  int64_t group;
  ScaleType scale;
  // Packs one block; `offset` is the grid's (Q4_1 makes its minimum of it). Null for the dense
  // types.
  void (*pack)(const int8_t* integers, const float* scales, float offset, std::byte* out);
};

const GgufPacking& gguf_packing(GgufType type);
std::span<const GgufPacking> gguf_packings();  // codes first, in order of preference

// Whether Codes of this format, respectively dense data of this type, can be stored as `packing`.
Fit gguf_fit(const CodeFormat& format, const GgufPacking& packing);
Fit gguf_fit(DType dtype, const GgufPacking& packing);

// Whether `packing` holds every scale of the Codes exactly: what gguf_fit calls "checked".
bool gguf_holds_scales(const Codes& codes, const GgufPacking& packing);

// Whether the scale that Codes have for the whole tensor goes into a tensor of its own.
inline bool has_scale_tensor(const GgufPacking& packing) {
  return packing.type == GgufType::nvfp4;
}

// All blocks of `codes` in order of the rows, on all threads; `row_of(r)` is the source row of
// stored row r (a permutation; null: the same). Memory: 1 MiB. Error(invalid_file) naming `name`
// when a scale is not representable in the type.
void gguf_pack_codes(const Codes& codes, const GgufPacking& packing, const std::string& name,
                     const std::function<int64_t(int64_t)>& row_of, const ByteSink& sink);

}  // namespace terse
