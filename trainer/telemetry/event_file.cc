#include "trainer/telemetry/event_file.h"

#include <fmt/format.h>

#include <bit>

namespace terse {
namespace {

// Protobuf wire types.
constexpr uint32_t kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5;

void put_varint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>((value & 0x7f) | 0x80);
  out += static_cast<char>(value);
}

template <typename Int>
void put_little_endian(std::string& out, Int value) {
  for (size_t i = 0; i < sizeof(Int); ++i) out += static_cast<char>((value >> (8 * i)) & 0xff);
}

void put_tag(std::string& out, uint32_t field, uint32_t type) {
  put_varint(out, field << 3 | type);
}

void put_bytes(std::string& out, uint32_t field, std::string_view bytes) {
  put_tag(out, field, kBytes);
  put_varint(out, bytes.size());
  out += bytes;
}

// tensorflow.Event: double wall_time = 1; int64 step = 2.
std::string event(double wall_time, int64_t step) {
  std::string out;
  put_tag(out, 1, kFixed64);
  put_little_endian(out, std::bit_cast<uint64_t>(wall_time));
  put_tag(out, 2, kVarint);
  put_varint(out, static_cast<uint64_t>(step));
  return out;
}

// tensorflow.Summary.Value: string tag = 1; float simple_value = 2.
std::string summary_value(const Scalar& scalar) {
  std::string out;
  put_bytes(out, 1, scalar.tag);
  put_tag(out, 2, kFixed32);
  put_little_endian(out, std::bit_cast<uint32_t>(static_cast<float>(scalar.value)));
  return out;
}

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

}  // namespace

EventFile::EventFile(FileSystem& fs, const std::string& directory, double wall_time,
                     std::string_view host, int64_t first_step) {
  fs.make_directories(directory);
  // Readers take the files of a folder in order of name. Microseconds keep the order, and the names
  // apart, when a run is resumed within a second.
  path_ = fmt::format("{}/events.out.tfevents.{:017.6f}.{}", directory, wall_time, host);
  file_ = fs.create(path_);
  std::string version = event(wall_time, 0);
  put_bytes(version, 3, "brain.Event:2");
  append(version);
  if (first_step > 1) {
    // Event.session_log = 7 { SessionLog.status = 1: START }: forget events of steps >= this one.
    std::string start = event(wall_time, first_step);
    put_bytes(start, 7, std::string_view("\x08\x01", 2));
    append(start);
  }
}

void EventFile::add(int64_t step, double wall_time, std::span<const Scalar> scalars) {
  std::string summary;
  for (const Scalar& scalar : scalars) put_bytes(summary, 1, summary_value(scalar));
  std::string record = event(wall_time, step);
  put_bytes(record, 5, summary);
  append(record);
}

void EventFile::append(std::string_view data) {
  std::string frame;
  put_little_endian(frame, static_cast<uint64_t>(data.size()));
  put_little_endian(frame, masked_crc32c(bytes_of(frame)));
  frame += data;
  put_little_endian(frame, masked_crc32c(std::as_bytes(std::span(data))));
  file_->append(bytes_of(frame));
}

void EventFile::sync() {
  file_->sync();
}

}  // namespace terse
