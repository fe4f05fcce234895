// Dense codecs: fp32 (exact) and bf16 (rounded to nearest even), as messages with a header like any
// other codec's. The dense exchange sends bare elements instead, since its plan is fixed; these
// serve where a compressed exchange picks "dense" for a bucket.
#pragma once
#include <memory>

#include "comm/codec/codec.h"

namespace terse {

std::unique_ptr<Codec> make_dense_codec(CodecId id);  // fp32 or bf16

}  // namespace terse
