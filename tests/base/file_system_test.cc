#include "base/file_system.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/checksum.h"
#include "base/error.h"
#include "tests/support/faulty_file_system.h"
#include "tests/support/temporary_directory.h"

namespace terse {
namespace {

TEST(FileSystem, WritesAndReadsBack) {
  TemporaryDirectory dir;
  const std::string path = dir / "file";
  write_atomically(FileSystem::real(), path, std::string_view("hello"));
  EXPECT_EQ(read_text(path), "hello");
  write_atomically(FileSystem::real(), path, std::string_view(""));
  EXPECT_EQ(read_text(path), "");
  EXPECT_EQ(FileSystem::real().list(dir.path()), std::vector<std::string>{"file"});
}

// The disk fills up at every possible moment: the old file or the new one is there, whole, and
// nothing else.
TEST(FileSystem, FullDiskLeavesOldOrNew) {
  for (int64_t fail_at = 0; fail_at < 16; ++fail_at) {
    TemporaryDirectory dir;
    const std::string path = dir / "file";
    write_atomically(FileSystem::real(), path, std::string_view("old content"));
    FaultyFileSystem fs(fail_at);
    bool failed = false;
    try {
      write_atomically(fs, path, std::string_view("new content, longer"));
    } catch (const Error& error) {
      failed = true;
      EXPECT_EQ(error.code(), ExitCode::invalid_file);
    }
    const std::string now = read_text(path);
    EXPECT_TRUE(now == "old content" || now == "new content, longer") << now;
    if (!failed) {
      EXPECT_EQ(now, "new content, longer");
    }
    EXPECT_EQ(FileSystem::real().list(dir.path()).size(), 1u) << "left a temporary file";
  }
}

TEST(FileSystem, ErrorsNameThePath) {
  try {
    MappedFile file("/nonexistent/dir/file");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::invalid_file);
    EXPECT_NE(std::string(error.what()).find("/nonexistent/dir/file"), std::string::npos);
  }
  EXPECT_THROW(MappedFile("/tmp"), Error);  // a folder
}

// Released pages come back with the same bytes; memory of others is left alone.
TEST(FileSystem, MappedFilesGivePagesBack) {
  TemporaryDirectory dir;
  std::string text(20'000'003, 'a');  // more than checksum() takes at a time
  for (size_t i = 0; i < text.size(); i += 97) text[i] = static_cast<char>('b' + i % 23);
  write_atomically(FileSystem::real(), dir / "file", text);
  const MappedFile file(dir / "file");
  const auto bytes = std::as_bytes(std::span(text));
  EXPECT_EQ(checksum(file), checksum(bytes));
  EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), file.bytes().begin()));
  file.release(file.bytes().subspan(5, 9000));
  file.release(file.bytes().last(7));
  file.release(bytes);
  file.release({});
  EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), file.bytes().begin()));
  write_atomically(FileSystem::real(), dir / "empty", std::string_view(""));
  EXPECT_EQ(checksum(MappedFile(dir / "empty")), checksum(std::span<const std::byte>()));
}

TEST(FileSystem, DirectoryOf) {
  EXPECT_EQ(directory_of("a/b/c"), "a/b");
  EXPECT_EQ(directory_of("c"), ".");
  EXPECT_EQ(directory_of("/c"), "/");
}

}  // namespace
}  // namespace terse
