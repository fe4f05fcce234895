#include "trainer/data/tokenizer.h"

#include <sentencepiece_processor.h>

#include <algorithm>

#include "base/error.h"
#include "base/file_system.h"

namespace terse {
namespace {

// Large enough that cutting costs nothing, small enough to share a few megabytes among threads.
constexpr size_t kBlock = 64 << 10;

std::vector<std::string_view> cut_at_lines(std::string_view text) {
  std::vector<std::string_view> blocks;
  while (text.size() > kBlock) {
    const size_t line = text.find('\n', kBlock);
    if (line == std::string_view::npos) break;
    // The line's end opens the next block, see Impl::encode_block.
    blocks.push_back(text.substr(0, line));
    text.remove_prefix(line);
  }
  blocks.push_back(text);
  return blocks;
}

}  // namespace

struct Tokenizer::Impl {
  sentencepiece::SentencePieceProcessor processor;
  std::string model;
  // How many ids the dummy space becomes in front of a line end.
  size_t dummy = 0;

  std::vector<int> ids(std::string_view text) const {
    std::vector<int> result;
    const auto status = processor.Encode({text.data(), text.size()}, &result);
    TERSE_CHECK(status.ok(), "sentencepiece: {}", status.ToString());
    return result;
  }

  // A block that opens with a line end has a dummy space too many: no piece spans a line end, so
  // that dropping it gives the ids of the uncut text.
  std::vector<int> encode_block(std::string_view text, bool first) const {
    std::vector<int> result = ids(text);
    if (!first)
      result.erase(result.begin(),
                   result.begin() + static_cast<std::ptrdiff_t>(std::min(dummy, result.size())));
    return result;
  }

  bool line_ends_stand_alone() const {
    for (int id = 0; id < processor.GetPieceSize(); ++id)
      if (processor.IdToPiece(id).find('\n') != std::string::npos) return false;
    return true;
  }
};

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Tokenizer Tokenizer::load(const std::string& path) {
  return parse(read_text(path), path);
}

Tokenizer Tokenizer::parse(std::string_view model, const std::string& origin) {
  auto impl = std::make_unique<Impl>();
  impl->model = std::string(model);
  // sentencepiece takes an empty file for a model without pieces.
  const auto status =
      impl->processor.LoadFromSerializedProto({impl->model.data(), impl->model.size()});
  if (!status.ok() || impl->processor.GetPieceSize() == 0)
    fail(ExitCode::invalid_file, "{}: not a sentencepiece model ({})", origin,
         status.ok() ? "it has no pieces" : status.ToString());
  const std::vector<int> line_end = impl->ids("\n");
  impl->dummy = line_end.empty() ? 0 : line_end.size() - 1;
  return Tokenizer(std::move(impl));
}

int64_t Tokenizer::vocab() const {
  return impl_->processor.GetPieceSize();
}
int32_t Tokenizer::unknown() const {
  return impl_->processor.unk_id();
}
int32_t Tokenizer::bos() const {
  return impl_->processor.bos_id();
}
int32_t Tokenizer::eos() const {
  return impl_->processor.eos_id();
}
const std::string& Tokenizer::model() const {
  return impl_->model;
}

std::vector<TokenPiece> Tokenizer::pieces() const {
  const auto& processor = impl_->processor;
  std::vector<TokenPiece> result;
  for (int id = 0; id < processor.GetPieceSize(); ++id) {
    const PieceType type = processor.IsUnknown(id)   ? PieceType::unknown
                           : processor.IsControl(id) ? PieceType::control
                           : processor.IsByte(id)    ? PieceType::byte
                           : processor.IsUnused(id)  ? PieceType::unused
                                                     : PieceType::normal;
    result.push_back({processor.IdToPiece(id), processor.GetScore(id), type});
  }
  return result;
}

std::vector<int32_t> Tokenizer::encode(std::string_view text) const {
  return encode(text, [](int64_t) {});
}

std::vector<int32_t> Tokenizer::encode(std::string_view text,
                                       const std::function<void(int64_t)>& progress) const {
  const std::vector<std::string_view> blocks =
      impl_->line_ends_stand_alone() ? cut_at_lines(text) : std::vector{text};
  constexpr size_t kRound = 64;  // blocks between two reports
  std::vector<int32_t> result;
  std::vector<std::vector<int>> parts(kRound);
  int64_t done = 0;
  for (size_t start = 0; start < blocks.size(); start += kRound) {
    const size_t count = std::min(kRound, blocks.size() - start);
#pragma omp parallel for schedule(dynamic)
    for (size_t i = 0; i < count; ++i)
      parts[i] = impl_->encode_block(blocks[start + i], start + i == 0);
    for (size_t i = 0; i < count; ++i) {
      result.insert(result.end(), parts[i].begin(), parts[i].end());
      done += static_cast<int64_t>(blocks[start + i].size());
    }
    progress(done);
  }
  return result;
}

std::string Tokenizer::decode(const std::vector<int32_t>& ids) const {
  for (const int32_t id : ids)
    if (id < 0 || id >= vocab())
      fail(ExitCode::usage, "token id {} is outside the vocabulary of {}", id, vocab());
  std::string text;
  const auto status = impl_->processor.Decode(ids, &text);
  TERSE_CHECK(status.ok(), "sentencepiece: {}", status.ToString());
  return text;
}

}  // namespace terse
