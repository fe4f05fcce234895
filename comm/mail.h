// The messages of one bucket as a Group's collectives want them: one after the other in one tensor,
// each from a multiple of 8 bytes on, with a list of sizes. Room is allocated once, for the most
// that each message can take.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "comm/codec/message.h"
#include "comm/group.h"

namespace terse {

class Mail {
 public:
  Mail() = default;
  // `room[k]`: the most bytes that message k can take, and its size until pack() or expect().
  Mail(std::vector<int64_t> room, at::Device device);

  // Where message k may be written.
  const std::vector<std::span<std::byte>>& rooms() const { return rooms_; }

  // Before sending: messages were written into rooms() and became `used` bytes long. Moves them
  // together.
  void pack(std::span<const int64_t> used);
  // Before receiving: the messages that will come are so long. Error(disagree) if one is longer
  // than its room.
  void expect(std::span<const int64_t> sizes);

  at::Tensor bytes() const;  // what travels: all messages
  // Bytes of each in bytes(), up to 7 more than the message.
  const std::vector<int64_t>& sizes() const { return sizes_; }
  int64_t total() const;
  const std::vector<std::span<const std::byte>>& messages() const { return messages_; }

 private:
  void resize(std::span<const int64_t> sizes);

  at::Tensor bytes_;
  std::vector<std::span<std::byte>> rooms_;
  std::vector<int64_t> sizes_;
  std::vector<std::span<const std::byte>> messages_;
};

// How long the messages are that will come, where that depends on the data: a small collective
// before the messages themselves.
class Lengths {
 public:
  static constexpr int64_t kBytes = sizeof(int64_t);  // of one length
  // sizes[j] goes to rank j.
  Pending all_to_all(Group& group, std::span<const int64_t> sizes, std::string_view tag);
  // `size` goes to all.
  Pending all_gather(Group& group, int64_t size, std::string_view tag);
  std::span<const int64_t> received() const;  // by rank, once waited for

 private:
  at::Tensor out_, in_;
};

// What `ranks` senders claim to be.
std::vector<MessageTag> tags_of_all(int64_t bucket, int64_t ranks, uint8_t stage);

}  // namespace terse
