#include "trainer/bench/export/bench_export.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "base/error.h"
#include "base/file_system.h"
#include "tests/support/temporary_directory.h"
#include "trainer/bench/export/peak_memory.h"
#include "trainer/bench/export/plain_copy.h"

namespace terse {
namespace {

TEST(BenchExport, HasItsRowsAndLeavesNothing) {
  const TemporaryDirectory folder;
  BenchExportOptions options;
  options.folder = folder.path();
  options.shape = {.layers = 2,
                   .width = 128,
                   .heads = 4,
                   .kv_heads = 2,
                   .hidden = 256,
                   .context = 32,
                   .vocab = 64,
                   .tie = true};
  std::vector<std::string> names;
  for (const BenchResult& r : bench_export(options)) {
    names.push_back(r.name);
    EXPECT_GT(r.value, 0.0) << r.name;
    EXPECT_GT(r.ratio, 0.0) << r.name;
    EXPECT_EQ(r.lower_is_better, r.unit == "MB") << r.name;
  }
  std::vector<std::string> expected = {"open.dense", "open.gguf:q4_0", "open.gguf:q8_0",
                                       "open.compressed-tensors:w4a16"};
  for (const char* format : {"gguf:q4_0", "gguf:q8_0", "gguf:bf16", "hf", "onnx:int4", "archive",
                             "compressed-tensors:w4a16"})
    for (const char* kind : {"export.", "export_input.", "import.", "memory.export.",
                             "memory.import.", "anonymous.export.", "anonymous.import."})
      expected.push_back(std::string(kind) + format);
  EXPECT_THAT(names, testing::UnorderedElementsAreArray(expected));
  EXPECT_TRUE(FileSystem::real().list(folder.path()).empty());
}

TEST(BenchExport, SaysWhereItCannotWrite) {
  BenchExportOptions options;
  options.folder = "/no/such/folder";
  try {
    bench_export(options);
    FAIL() << "no error";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ExitCode::usage);
    EXPECT_NE(std::string(e.what()).find("--folder"), std::string::npos) << e.what();
  }
}

TEST(PeakMemory, SeesWhatTheWorkHeld) {
  const PeakMemory idle = peak_memory([] {});
  const PeakMemory busy = peak_memory([] {
    std::vector<char> bytes(64 << 20, 'x');
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    EXPECT_EQ(bytes.back(), 'x');
  });
  EXPECT_GT(busy.anonymous, idle.anonymous + (60 << 20));
  EXPECT_GE(busy.resident, busy.anonymous);
}

TEST(PlainCopy, CopiesFilesAndFolders) {
  const TemporaryDirectory folder;
  const std::string text(1'000'000, 'a');
  FileSystem::real().make_directories(folder / "in");
  const std::unique_ptr<FileSystem> fs = unsynced_file_system();
  write_atomically(*fs, folder / "in/one", text);
  write_atomically(*fs, folder / "in/two", "b");
  EXPECT_EQ(copy_plainly(folder / "in/one", folder / "file"), 1'000'000);
  EXPECT_EQ(read_text(folder / "file"), text);
  EXPECT_EQ(copy_plainly(folder / "in", folder / "out"), 1'000'001);
  EXPECT_EQ(read_text(folder / "out/one"), text);
  EXPECT_EQ(read_text(folder / "out/two"), "b");
  EXPECT_THROW(copy_plainly(folder / "none", folder / "x"), Error);
}

}  // namespace
}  // namespace terse
