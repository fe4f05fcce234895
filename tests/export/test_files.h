// A folder for one test, and a file system that fails after a number of calls.
#pragma once
#include <gtest/gtest.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <utility>

#include "base/error.h"
#include "base/file_system.h"

namespace terse {

class TestFolder {
 public:
  TestFolder() {
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    path_ = fmt::format("{}/terse_export_{}_{}_{}", ::testing::TempDir(), info->test_suite_name(),
                        info->name(), ::getpid());
    FileSystem::real().make_directories(path_);
  }
  ~TestFolder() { FileSystem::real().remove_all(path_); }
  TestFolder(const TestFolder&) = delete;
  TestFolder& operator=(const TestFolder&) = delete;
  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

// Real files; the call after `allowed` successful ones fails as a full disk does, and all later
// ones that write do, too. Removing always works.
class FaultyFileSystem final : public FileSystem {
 public:
  explicit FaultyFileSystem(int64_t allowed) : left_(allowed) {}

  std::unique_ptr<WritableFile> create(const std::string& path) override {
    spend("create");
    return std::make_unique<File>(*this, real().create(path));
  }
  std::unique_ptr<WritableFile> append_to(const std::string& path) override {
    spend("append_to");
    return std::make_unique<File>(*this, real().append_to(path));
  }
  void rename(const std::string& from, const std::string& to) override {
    spend("rename");
    real().rename(from, to);
  }
  void remove(const std::string& path) override { real().remove(path); }
  void remove_all(const std::string& path) override { real().remove_all(path); }
  void make_directories(const std::string& path) override {
    spend("mkdir");
    real().make_directories(path);
  }
  void sync_directory(const std::string& path) override {
    spend("sync_directory");
    real().sync_directory(path);
  }
  bool exists(const std::string& path) override { return real().exists(path); }
  std::vector<std::string> list(const std::string& path) override { return real().list(path); }

 private:
  class File final : public WritableFile {
   public:
    File(FaultyFileSystem& fs, std::unique_ptr<WritableFile> file)
        : fs_(fs), file_(std::move(file)) {}
    void append(std::span<const std::byte> bytes) override {
      if (fs_.left_ <= 0)
        file_->append(bytes.first(bytes.size() / 2));  // a short write, then ENOSPC
      fs_.spend("write");
      file_->append(bytes);
    }
    void write_at(int64_t offset, std::span<const std::byte> bytes) override {
      fs_.spend("write_at");
      file_->write_at(offset, bytes);
    }
    void sync() override {
      fs_.spend("sync");
      file_->sync();
    }

   private:
    FaultyFileSystem& fs_;
    std::unique_ptr<WritableFile> file_;
  };

  void spend(const char* call) {
    if (left_-- <= 0) fail(ExitCode::invalid_file, "{}: no space left on device", call);
  }
  int64_t left_;
};

}  // namespace terse
