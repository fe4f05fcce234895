// Data that is made when a writer asks for it, piece by piece, so that exporting a model needs
// memory for one tensor (or less) and not for all.
#pragma once
#include <cstddef>
#include <functional>
#include <span>
#include <utility>

#include "base/tensor_view.h"

namespace terse {

// Takes the next bytes; they need to live only during the call.
using ByteSink = std::function<void(std::span<const std::byte>)>;

// Hands all bytes of a tensor, in order and in pieces of any size, to the sink; the same bytes each
// time it is called. Writers call it once a file: checksums that stand before the data are filled
// in behind them.
using ByteSource = std::function<void(const ByteSink&)>;

// The bytes that a view borrows; what it borrows from must outlive the source.
inline ByteSource source_of(TensorView view) {
  return [view = std::move(view)](const ByteSink& sink) { sink(view.data); };
}

}  // namespace terse
