// The types that the GGUF writer can make, as data: one row a type.
#pragma once
#include <cstddef>
#include <cstdint>
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
  int code_min, code_max;
  // Packs one block of codes with its scale; null for the dense types.
  void (*pack)(const int8_t* codes, float scale, std::byte* out);
};

const GgufPacking& gguf_packing(GgufType type);
std::span<const GgufPacking> gguf_packings();  // codes first, in order of preference

// Whether Codes of this format, respectively dense data of this type, can be stored as `packing`.
Fit gguf_fit(const CodeFormat& format, const GgufPacking& packing);
Fit gguf_fit(DType dtype, const GgufPacking& packing);

// All blocks of `codes`, row by row; `row_of(r)` is the source row of stored row r (a
// permutation; null: the same).
// Memory: one row. Error(invalid_file) naming `name` when a scale is not representable as fp16.
void gguf_pack_codes(const Codes& codes, const GgufPacking& packing, const std::string& name,
                     const std::function<int64_t(int64_t)>& row_of, const ByteSink& sink);

}  // namespace terse
