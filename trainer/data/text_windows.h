// Windows of a token shard as examples.
//
// A window is `begin` (the begin token) followed by `context` consecutive tokens of the shard: the
// model predicts each of them once, from the begin token and those before it. This is what engines
// feed (they put the begin token first), so that training, evaluation and serving see alike.
//
// For training an epoch's windows begin at any offset below a window's length (the shift), so that
// other epochs cut the text elsewhere; one window is given up for that. For validation they are all
// whole windows in order from the start of the shard.
#pragma once
#include "trainer/data/examples.h"
#include "trainer/data/shard.h"

namespace terse {

enum class WindowUse : uint8_t { training, validation };

class TextWindows final : public Examples {
 public:
  // Error(invalid_file) when the shard is shorter than one window.
  TextWindows(TokenShard shard, int64_t context, int64_t begin, WindowUse use);

  int64_t count() const override { return windows_; }
  int64_t columns() const override { return context_ + 1; }
  int64_t targets() const override { return context_; }
  int64_t shifts() const override;
  void read(int64_t index, int64_t shift, std::span<int64_t> row) const override;
  uint64_t checksum() const override { return shard_.checksum(); }
  const std::string& path() const override { return shard_.path(); }

 private:
  TokenShard shard_;
  int64_t context_, begin_;
  WindowUse use_;
  int64_t windows_ = 0;
};

}  // namespace terse
