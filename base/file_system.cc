#include "base/file_system.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "base/error.h"

namespace terse {
namespace {

[[noreturn]] void fail_errno(const char* call, const std::string& path) {
  const int error = errno;
  fail(ExitCode::invalid_file, "{}: {} failed: {}{}", path, call, std::strerror(error),
       error == ENOSPC ? "; free some space, or choose another place with --out" : "");
}

class PosixFile final : public WritableFile {
 public:
  PosixFile(std::string path, int flags) : path_(std::move(path)) {
    fd_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0644);
    if (fd_ < 0) fail_errno("open", path_);
  }
  ~PosixFile() override { ::close(fd_); }
  PosixFile(const PosixFile&) = delete;
  PosixFile& operator=(const PosixFile&) = delete;

  void append(std::span<const std::byte> bytes) override {
    while (!bytes.empty()) {
      const ssize_t n = ::write(fd_, bytes.data(), std::min<size_t>(bytes.size(), 1u << 30));
      if (n < 0) {
        if (errno == EINTR) continue;
        fail_errno("write", path_);
      }
      bytes = bytes.subspan(static_cast<size_t>(n));
    }
  }
  void write_at(int64_t offset, std::span<const std::byte> bytes) override {
    while (!bytes.empty()) {
      const ssize_t n = ::pwrite(fd_, bytes.data(), bytes.size(), offset);
      if (n < 0) {
        if (errno == EINTR) continue;
        fail_errno("pwrite", path_);
      }
      bytes = bytes.subspan(static_cast<size_t>(n));
      offset += n;
    }
  }
  void sync() override {
    if (::fsync(fd_) != 0) fail_errno("fsync", path_);
  }

 private:
  std::string path_;
  int fd_;
};

class PosixFileSystem final : public FileSystem {
 public:
  std::unique_ptr<WritableFile> create(const std::string& path) override {
    return std::make_unique<PosixFile>(path, O_TRUNC);
  }
  std::unique_ptr<WritableFile> append_to(const std::string& path) override {
    return std::make_unique<PosixFile>(path, O_APPEND);
  }
  void rename(const std::string& from, const std::string& to) override {
    if (::rename(from.c_str(), to.c_str()) != 0) fail_errno("rename", from + " to " + to);
  }
  void remove(const std::string& path) override {
    if (::unlink(path.c_str()) != 0 && errno != ENOENT) fail_errno("unlink", path);
  }
  void remove_all(const std::string& path) override {
    std::error_code error;
    std::filesystem::remove_all(path, error);
    if (error) fail(ExitCode::invalid_file, "{}: remove failed: {}", path, error.message());
  }
  void make_directories(const std::string& path) override {
    std::error_code error;
    std::filesystem::create_directories(path, error);
    if (error) fail(ExitCode::invalid_file, "{}: mkdir failed: {}", path, error.message());
  }
  void sync_directory(const std::string& path) override {
    const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) fail_errno("open", path);
    const int result = ::fsync(fd);
    ::close(fd);
    if (result != 0) fail_errno("fsync", path);
  }
  bool exists(const std::string& path) override {
    struct stat info;
    return ::stat(path.c_str(), &info) == 0;
  }
  std::vector<std::string> list(const std::string& path) override {
    DIR* dir = ::opendir(path.c_str());
    if (dir == nullptr) fail_errno("opendir", path);
    std::vector<std::string> names;
    while (const dirent* entry = ::readdir(dir)) {
      const std::string name = entry->d_name;
      if (name != "." && name != "..") names.push_back(name);
    }
    ::closedir(dir);
    std::sort(names.begin(), names.end());
    return names;
  }
};

}  // namespace

FileSystem& FileSystem::real() {
  static PosixFileSystem fs;
  return fs;
}

std::string directory_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

void write_atomically(FileSystem& fs, const std::string& path,
                      const std::function<void(WritableFile&)>& write) {
  const std::string temporary = fmt::format("{}.tmp.{}", path, ::getpid());
  try {
    auto file = fs.create(temporary);
    write(*file);
    file->sync();
    file.reset();
    fs.rename(temporary, path);
  } catch (...) {
    try {
      fs.remove(temporary);
    } catch (const Error&) {  // the first failure is the one to report
    }
    throw;
  }
  fs.sync_directory(directory_of(path));
}

void write_atomically(FileSystem& fs, const std::string& path, std::string_view text) {
  write_atomically(fs, path, [&](WritableFile& file) {
    file.append({reinterpret_cast<const std::byte*>(text.data()), text.size()});
  });
}

std::string read_text(const std::string& path, int64_t limit) {
  const MappedFile file(path);
  const auto bytes = file.bytes();
  if (static_cast<int64_t>(bytes.size()) > limit)
    fail(ExitCode::invalid_file, "{}: {} bytes, more than the {} expected here", path, bytes.size(),
         limit);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

MappedFile::MappedFile(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) fail_errno("open", path);
  struct stat info;
  if (::fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    ::close(fd);
    fail(ExitCode::invalid_file, "{}: not a regular file", path);
  }
  size_ = static_cast<size_t>(info.st_size);
  if (size_ > 0) {
    void* map = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, fd, 0);
    if (map == MAP_FAILED) {
      ::close(fd);
      fail_errno("mmap", path);
    }
    data_ = static_cast<const std::byte*>(map);
  }
  ::close(fd);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

void MappedFile::release(std::span<const std::byte> bytes) const {
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto offset =
      reinterpret_cast<uintptr_t>(bytes.data()) - reinterpret_cast<uintptr_t>(data_);
  if (bytes.empty() || offset > size_ || bytes.size() > size_ - offset) return;
  const uintptr_t begin = (offset + page - 1) / page * page;
  const uintptr_t end = (offset + bytes.size()) / page * page;
  if (begin < end)
    ::madvise(const_cast<std::byte*>(data_) + begin, end - begin, MADV_DONTNEED);  // may fail
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

}  // namespace terse
