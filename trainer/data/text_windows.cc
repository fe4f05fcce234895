#include "trainer/data/text_windows.h"

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace terse {

TextWindows::TextWindows(TokenShard shard, int64_t context, int64_t begin, WindowUse use)
    : shard_(std::move(shard)), context_(context), begin_(begin), use_(use) {
  if (shard_.count() < context)
    fail(ExitCode::invalid_file,
         "{}: {} tokens are too few for one sequence of {}; give more text ([data] text), or a "
         "shorter [model] context",
         shard_.path(), shard_.count(), context);
  const int64_t whole = shard_.count() / context;
  windows_ = use == WindowUse::training ? std::max<int64_t>(1, whole - 1) : whole;
}

int64_t TextWindows::shifts() const {
  if (use_ == WindowUse::validation) return 1;
  return std::min(context_, shard_.count() - windows_ * context_ + 1);
}

void TextWindows::read(int64_t index, int64_t shift, std::span<int64_t> row) const {
  row[0] = begin_;
  shard_.read(shift + index * context_, row.subspan(1));
}

}  // namespace terse
