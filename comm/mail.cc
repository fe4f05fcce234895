#include "comm/mail.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstring>
#include <numeric>

#include "base/error.h"

namespace terse {

namespace {

int64_t padded(int64_t size) {
  return (size + 7) / 8 * 8;
}

}  // namespace

Mail::Mail(std::vector<int64_t> room, at::Device device) {
  int64_t total = 0;
  for (const int64_t size : room) total += padded(size);
  bytes_ = at::empty({total}, at::TensorOptions().dtype(at::kByte).device(device));
  auto* at = static_cast<std::byte*>(bytes_.mutable_data_ptr());
  for (const int64_t size : room) {
    rooms_.emplace_back(at, static_cast<size_t>(size));
    at += padded(size);
  }
  messages_.resize(room.size());
  sizes_.resize(room.size());
  resize(room);
}

void Mail::resize(std::span<const int64_t> sizes) {
  const auto* at = static_cast<const std::byte*>(bytes_.const_data_ptr());
  for (size_t k = 0; k < sizes_.size(); ++k) {
    sizes_[k] = padded(sizes[k]);
    messages_[k] = {at, static_cast<size_t>(sizes[k])};
    at += sizes_[k];
  }
}

void Mail::pack(std::span<const int64_t> used) {
  auto* at = static_cast<std::byte*>(bytes_.mutable_data_ptr());
  for (size_t k = 0; k < rooms_.size(); ++k) {
    const auto size = static_cast<size_t>(used[k]);
    TERSE_CHECK(size <= rooms_[k].size(), "message {} has {} bytes", k, size);
    if (at != rooms_[k].data()) std::memmove(at, rooms_[k].data(), size);
    at += padded(used[k]);
  }
  resize(used);
}

void Mail::expect(std::span<const int64_t> sizes) {
  for (size_t k = 0; k < rooms_.size(); ++k)
    if (sizes[k] < 0 || sizes[k] > static_cast<int64_t>(rooms_[k].size()))
      fail(ExitCode::disagree, "rank {} announces a message of {} bytes; at most {} are possible",
           k, sizes[k], rooms_[k].size());
  resize(sizes);
}

int64_t Mail::total() const {
  return std::accumulate(sizes_.begin(), sizes_.end(), int64_t{0});
}

at::Tensor Mail::bytes() const {
  return bytes_.narrow(0, 0, total());
}

Pending Lengths::all_to_all(Group& group, std::span<const int64_t> sizes, std::string_view tag) {
  if (!out_.defined()) out_ = at::empty({group.size()}, at::kLong);
  if (!in_.defined()) in_ = at::empty({group.size()}, at::kLong);
  std::copy(sizes.begin(), sizes.end(), out_.mutable_data_ptr<int64_t>());
  return group.all_to_all(in_, out_, tag);
}

Pending Lengths::all_gather(Group& group, int64_t size, std::string_view tag) {
  if (!out_.defined()) out_ = at::empty({1}, at::kLong);
  if (!in_.defined()) in_ = at::empty({group.size()}, at::kLong);
  *out_.mutable_data_ptr<int64_t>() = size;
  return group.all_gather(in_, out_, tag);
}

std::span<const int64_t> Lengths::received() const {
  return {in_.const_data_ptr<int64_t>(), static_cast<size_t>(in_.numel())};
}

std::vector<MessageTag> tags_of_all(int64_t bucket, int64_t ranks, uint8_t stage) {
  std::vector<MessageTag> tags;
  for (int64_t rank = 0; rank < ranks; ++rank)
    tags.push_back({.bucket = static_cast<uint32_t>(bucket),
                    .sender = static_cast<uint32_t>(rank),
                    .step = 0,
                    .stage = stage});
  return tags;
}

}  // namespace terse
