// A folder for one test, and what a disk that fills up may leave in it.
#pragma once
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/file_system.h"
#include "tests/support/faulty_file_system.h"

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

// Calls `write` on disks that are full at the first call that changes something, `stride` calls
// later, and so on until one has room. Each time the folder is left empty, or with a whole `name`
// (only the last sync failed), which `check` is to see.
inline void expect_nothing_or_all(const TestFolder& folder, const std::string& name,
                                  const std::function<void(FileSystem&)>& write,
                                  const std::function<void(const std::string& path)>& check,
                                  int64_t stride = 1) {
  bool failed = true;
  for (int64_t fail_at = 0; failed; fail_at += stride) {
    SCOPED_TRACE(fail_at);
    FaultyFileSystem fs(fail_at);
    failed = false;
    try {
      write(fs);
    } catch (const Error&) {
      failed = true;
    }
    const std::vector<std::string> left = FileSystem::real().list(folder.path());
    EXPECT_TRUE(failed || (left.size() == 1 && fs.calls() > 5));
    for (const std::string& one : left) {
      ASSERT_EQ(one, name);
      check(folder / one);
      FileSystem::real().remove_all(folder / one);
    }
  }
}

}  // namespace terse
