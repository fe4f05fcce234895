#include "trainer/bench/export/plain_copy.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>
#include <vector>

#include "base/error.h"

namespace terse {
namespace {

class Descriptor {
 public:
  Descriptor(const std::string& path, int flags)
      : path_(path), fd_(::open(path.c_str(), flags | O_CLOEXEC, 0644)) {
    if (fd_ < 0) fail_errno("open");
  }
  ~Descriptor() { ::close(fd_); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  // 0 at the end.
  size_t read(std::vector<std::byte>& buffer) const {
    const ssize_t n = ::read(fd_, buffer.data(), buffer.size());
    if (n < 0) fail_errno("read");
    return static_cast<size_t>(n);
  }
  void write(std::span<const std::byte> bytes) const {
    while (!bytes.empty()) {
      const ssize_t n = ::write(fd_, bytes.data(), bytes.size());
      if (n < 0) fail_errno("write");
      bytes = bytes.subspan(static_cast<size_t>(n));
    }
  }

 private:
  [[noreturn]] void fail_errno(const char* call) const {
    fail(ExitCode::invalid_file, "{}: {} failed: {}", path_, call, std::strerror(errno));
  }
  const std::string& path_;
  int fd_;
};

int64_t copy_file(const std::string& from, const std::string& to) {
  const Descriptor in(from, O_RDONLY), out(to, O_WRONLY | O_CREAT | O_TRUNC);
  std::vector<std::byte> buffer(1 << 18);
  int64_t all = 0;
  while (const size_t n = in.read(buffer)) {
    out.write(std::span(buffer).first(n));
    all += static_cast<int64_t>(n);
  }
  return all;
}

class UnsyncedFile final : public WritableFile {
 public:
  explicit UnsyncedFile(std::unique_ptr<WritableFile> file) : file_(std::move(file)) {}
  void append(std::span<const std::byte> bytes) override { file_->append(bytes); }
  void write_at(int64_t offset, std::span<const std::byte> bytes) override {
    file_->write_at(offset, bytes);
  }
  void sync() override {}

 private:
  std::unique_ptr<WritableFile> file_;
};

class UnsyncedFileSystem final : public FileSystem {
 public:
  std::unique_ptr<WritableFile> create(const std::string& path) override {
    return std::make_unique<UnsyncedFile>(real().create(path));
  }
  std::unique_ptr<WritableFile> append_to(const std::string& path) override {
    return std::make_unique<UnsyncedFile>(real().append_to(path));
  }
  void rename(const std::string& from, const std::string& to) override { real().rename(from, to); }
  void remove(const std::string& path) override { real().remove(path); }
  void remove_all(const std::string& path) override { real().remove_all(path); }
  void make_directories(const std::string& path) override { real().make_directories(path); }
  void sync_directory(const std::string&) override {}
  bool exists(const std::string& path) override { return real().exists(path); }
  std::vector<std::string> list(const std::string& path) override { return real().list(path); }
};

}  // namespace

int64_t copy_plainly(const std::string& from, const std::string& to) {
  if (!std::filesystem::is_directory(from)) return copy_file(from, to);
  std::filesystem::create_directories(to);
  int64_t all = 0;
  for (const std::string& name : FileSystem::real().list(from))
    all += copy_file(fmt::format("{}/{}", from, name), fmt::format("{}/{}", to, name));
  return all;
}

std::unique_ptr<FileSystem> unsynced_file_system() {
  return std::make_unique<UnsyncedFileSystem>();
}

}  // namespace terse
