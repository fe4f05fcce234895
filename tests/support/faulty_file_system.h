// File systems that fail on purpose, for tests of everything that writes.
//
// They count the calls that change the disk (create, append, write_at, sync, rename,
// make_directories, sync_directory). Call number `fail_at` (from 0) is interrupted; the calls
// before it really happen, in a folder of the test's own. An interrupted write leaves half of its
// bytes.
#pragma once
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/file_system.h"

namespace terse {

// Fails as a full disk does: with `sticky`, in every later call too.
class FaultyFileSystem : public FileSystem {
 public:
  explicit FaultyFileSystem(int64_t fail_at, bool sticky = true)
      : fail_at_(fail_at), sticky_(sticky) {}
  int64_t calls() const { return calls_; }

  std::unique_ptr<WritableFile> create(const std::string& path) override {
    step("create", path);
    return wrap(path, real().create(path));
  }
  std::unique_ptr<WritableFile> append_to(const std::string& path) override {
    step("append_to", path);
    return wrap(path, real().append_to(path));
  }
  void rename(const std::string& from, const std::string& to) override {
    step("rename", to);
    real().rename(from, to);
  }
  // Removing works on a full disk, and clean-up must be seen to happen.
  void remove(const std::string& path) override { real().remove(path); }
  void remove_all(const std::string& path) override { real().remove_all(path); }
  void make_directories(const std::string& path) override {
    step("mkdir", path);
    real().make_directories(path);
  }
  void sync_directory(const std::string& path) override {
    step("sync_directory", path);
    real().sync_directory(path);
  }
  bool exists(const std::string& path) override { return real().exists(path); }
  std::vector<std::string> list(const std::string& path) override { return real().list(path); }

 protected:
  virtual void interrupt(const char* call, const std::string& path) {
    fail(ExitCode::invalid_file, "{}: {} failed: No space left on device", path, call);
  }

 private:
  class File final : public WritableFile {
   public:
    File(FaultyFileSystem& fs, std::string path, std::unique_ptr<WritableFile> file)
        : fs_(fs), path_(std::move(path)), file_(std::move(file)) {}
    void append(std::span<const std::byte> bytes) override {
      if (fs_.next_fails()) file_->append(bytes.first(bytes.size() / 2));
      fs_.step("write", path_);
      file_->append(bytes);
    }
    void write_at(int64_t offset, std::span<const std::byte> bytes) override {
      if (fs_.next_fails()) file_->write_at(offset, bytes.first(bytes.size() / 2));
      fs_.step("write_at", path_);
      file_->write_at(offset, bytes);
    }
    void sync() override {
      fs_.step("fsync", path_);
      file_->sync();
    }

   private:
    FaultyFileSystem& fs_;
    std::string path_;
    std::unique_ptr<WritableFile> file_;
  };

  std::unique_ptr<WritableFile> wrap(const std::string& path, std::unique_ptr<WritableFile> file) {
    return std::make_unique<File>(*this, path, std::move(file));
  }
  bool next_fails() const { return sticky_ ? calls_ >= fail_at_ : calls_ == fail_at_; }
  void step(const char* call, const std::string& path) {
    const bool fails = next_fails();
    ++calls_;
    if (fails) interrupt(call, path);
  }

  int64_t fail_at_;
  bool sticky_;
  int64_t calls_ = 0;
};

// Ends the process, as kill -9 would.
class KilledFileSystem final : public FaultyFileSystem {
 public:
  explicit KilledFileSystem(int64_t at) : FaultyFileSystem(at) {}

 private:
  void interrupt(const char*, const std::string&) override { ::kill(::getpid(), SIGKILL); }
};

}  // namespace terse
