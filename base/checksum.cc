#include "base/checksum.h"

#include <fmt/format.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>

namespace terse {

struct Checksum::State {
  XXH3_state_t xxh;
};

uint64_t checksum(std::span<const std::byte> bytes, uint64_t seed) {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}

uint64_t checksum(const MappedFile& file) {
  constexpr size_t kPiece = 1 << 24;
  Checksum sum;
  for (auto left = file.bytes(); !left.empty();
       left = left.subspan(std::min(kPiece, left.size()))) {
    const auto piece = left.first(std::min(kPiece, left.size()));
    sum.update(piece);
    file.release(piece);
  }
  return sum.value();
}

std::string checksum_hex(uint64_t value) {
  return fmt::format("{:016x}", value);
}

Checksum::Checksum() : state_(std::make_unique<State>()) {
  XXH3_64bits_reset(&state_->xxh);
}
Checksum::~Checksum() = default;
void Checksum::update(std::span<const std::byte> bytes) {
  XXH3_64bits_update(&state_->xxh, bytes.data(), bytes.size());
}
uint64_t Checksum::value() const {
  return XXH3_64bits_digest(&state_->xxh);
}

}  // namespace terse
