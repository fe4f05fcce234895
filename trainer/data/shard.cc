#include "trainer/data/shard.h"

#include <array>
#include <cstring>
#include <vector>

#include "base/checksum.h"
#include "base/error.h"

namespace terse {
namespace {

constexpr std::array<char, 8> kMagic = {'T', 'E', 'R', 'S', 'E', 'T', 'O', 'K'};

struct Header {
  std::array<char, 8> magic = kMagic;
  uint32_t version = 1;
  uint32_t width = 2;
  uint64_t count = 0;
  uint64_t vocab = 0;
  uint64_t checksum = 0;
  std::array<uint64_t, 3> zero = {};
};
static_assert(sizeof(Header) == 64);

template <typename Id>
std::vector<Id> narrowed(std::span<const int32_t> tokens) {
  std::vector<Id> result(tokens.size());
  for (size_t i = 0; i < tokens.size(); ++i) result[i] = static_cast<Id>(tokens[i]);
  return result;
}

template <typename Id>
void write(FileSystem& fs, const std::string& path, std::span<const int32_t> tokens,
           int64_t vocab) {
  const std::vector<Id> ids = narrowed<Id>(tokens);
  const std::span<const std::byte> bytes = std::as_bytes(std::span(ids));
  Header header;
  header.width = sizeof(Id);
  header.count = ids.size();
  header.vocab = static_cast<uint64_t>(vocab);
  header.checksum = checksum(bytes);
  write_atomically(fs, path, [&](WritableFile& file) {
    file.append(std::as_bytes(std::span(&header, 1)));
    file.append(bytes);
  });
}

}  // namespace

void write_shard(FileSystem& fs, const std::string& path, std::span<const int32_t> tokens,
                 int64_t vocab) {
  for (const int32_t id : tokens)
    TERSE_CHECK(id >= 0 && id < vocab, "token id {} outside the vocabulary of {}", id, vocab);
  if (vocab <= 65536)
    write<uint16_t>(fs, path, tokens, vocab);
  else
    write<uint32_t>(fs, path, tokens, vocab);
}

TokenShard::TokenShard(const std::string& path) : path_(path), file_(path) {
  const std::span<const std::byte> bytes = file_.bytes();
  Header header;
  if (bytes.size() < sizeof(Header))
    fail(ExitCode::invalid_file, "{}: {} bytes are too few for a token shard's header", path,
         bytes.size());
  std::memcpy(&header, bytes.data(), sizeof(Header));
  if (header.magic != kMagic)
    fail(ExitCode::invalid_file, "{}: not a token shard (it does not begin with TERSETOK)", path);
  if (header.version != 1 || (header.width != 2 && header.width != 4))
    fail(ExitCode::invalid_file,
         "{}: token shard of version {} with {} bytes a token; this program "
         "reads version 1 with 2 or 4",
         path, header.version, header.width);
  if (header.vocab == 0 || header.vocab > uint64_t{1} << 31)
    fail(ExitCode::invalid_file, "{}: impossible vocabulary size {}", path, header.vocab);
  const uint64_t held = (bytes.size() - sizeof(Header)) / header.width;
  if (held != header.count || held * header.width != bytes.size() - sizeof(Header))
    fail(ExitCode::invalid_file,
         "{}: truncated or damaged: the header promises {} tokens, the file "
         "holds {} bytes of them; prepare it again",
         path, header.count, bytes.size() - sizeof(Header));
  width_ = header.width;
  count_ = static_cast<int64_t>(header.count);
  vocab_ = static_cast<int64_t>(header.vocab);
  checksum_ = header.checksum;
}

void TokenShard::bad_id(int64_t id, int64_t position) const {
  fail(ExitCode::invalid_file, "{}: token id {} at position {} is outside the vocabulary of {}",
       path_, id, position, vocab_);
}

void TokenShard::read(int64_t at, std::span<int64_t> out) const {
  const auto n = static_cast<int64_t>(out.size());
  TERSE_CHECK(at >= 0 && n <= count_ && at <= count_ - n, "tokens {} + {} of {} in {}", at, n,
              count_, path_);
  const std::byte* from = file_.bytes().data() + sizeof(Header) + at * width_;
  for (int64_t i = 0; i < n; ++i) {
    uint32_t id = 0;
    std::memcpy(&id, from + i * width_, static_cast<size_t>(width_));
    if (id >= static_cast<uint64_t>(vocab_)) bad_id(id, at + i);
    out[static_cast<size_t>(i)] = id;
  }
}

template <typename Id>
void TokenShard::check_ids(std::span<const std::byte> bytes) const {
  for (int64_t i = 0; i < count_; ++i) {
    Id id = 0;
    std::memcpy(&id, bytes.data() + i * width_, sizeof(Id));
    if (id >= static_cast<uint64_t>(vocab_)) bad_id(id, i);
  }
}

void TokenShard::verify() const {
  const std::span<const std::byte> bytes = file_.bytes().subspan(sizeof(Header));
  if (width_ == 2)
    check_ids<uint16_t>(bytes);
  else
    check_ids<uint32_t>(bytes);
  if (checksum_ != 0 && terse::checksum(bytes) != checksum_)
    fail(ExitCode::invalid_file,
         "{}: damaged: its tokens do not match the checksum in its header; "
         "prepare it again",
         path_);
}

}  // namespace terse
