// The file-system seam and atomic files.
//
// Everything terse writes goes through FileSystem, so that tests can drop unsynced data, fill the
// disk or fail any single call. `write_atomically` is the only way a finished file comes to be:
// temporary name in the same folder, write, fsync, rename, fsync of the folder. A reader sees the
// old file or the new one, never a part. Errors are Error(invalid_file) with path, call and errno
// text.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace terse {

class WritableFile {
 public:
  virtual ~WritableFile() = default;  // closes, without sync
  virtual void append(std::span<const std::byte> bytes) = 0;
  // Replaces bytes that were appended before, of a file from create(): what stands in front of data
  // and is known after them.
  virtual void write_at(int64_t offset, std::span<const std::byte> bytes) = 0;
  virtual void sync() = 0;
};

class FileSystem {
 public:
  virtual ~FileSystem() = default;
  virtual std::unique_ptr<WritableFile> create(const std::string& path) = 0;     // truncates
  virtual std::unique_ptr<WritableFile> append_to(const std::string& path) = 0;  // creates
  virtual void rename(const std::string& from, const std::string& to) = 0;
  virtual void remove(const std::string& path) = 0;      // a file; missing is no error
  virtual void remove_all(const std::string& path) = 0;  // a folder tree; missing is no error
  virtual void make_directories(const std::string& path) = 0;
  virtual void sync_directory(const std::string& path) = 0;
  virtual bool exists(const std::string& path) = 0;
  virtual std::vector<std::string> list(const std::string& path) = 0;  // names, sorted

  static FileSystem& real();
};

// Writes `path` by `write`; on any failure the temporary file is removed and the old file stays.
void write_atomically(FileSystem& fs, const std::string& path,
                      const std::function<void(WritableFile&)>& write);
void write_atomically(FileSystem& fs, const std::string& path, std::string_view text);

// The whole file; at most `limit` bytes or an Error.
std::string read_text(const std::string& path, int64_t limit = int64_t{1} << 30);

// A read-only memory map. Empty files map to an empty span.
class MappedFile {
 public:
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  std::span<const std::byte> bytes() const { return {data_, size_}; }
  // The whole pages in `bytes`, a part of the map, stop counting as this process's memory and come
  // back from the system's cache when they are read again. Other bytes are left alone.
  void release(std::span<const std::byte> bytes) const;

 private:
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

// The folder part of a path ("." if there is none).
std::string directory_of(const std::string& path);

}  // namespace terse
