#include "trainer/telemetry/event_file.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>
#include <filesystem>

#include "base/run_program.h"
#include "tests/support/temporary_directory.h"

namespace terse {
namespace {

std::span<const std::byte> bytes(std::string_view text) {
  return std::as_bytes(std::span(text));
}

// RFC 3720, B.4, and the check value of the CRC catalogue.
TEST(Crc32c, PublishedValues) {
  EXPECT_EQ(crc32c(bytes("123456789")), 0xe3069283u);
  EXPECT_EQ(crc32c(bytes(std::string(32, '\0'))), 0x8a9136aau);
  EXPECT_EQ(crc32c(bytes(std::string(32, '\xff'))), 0x62a8ab43u);
  std::string ascending;
  for (int i = 0; i < 32; ++i) ascending += static_cast<char>(i);
  EXPECT_EQ(crc32c(bytes(ascending)), 0x46dd794eu);
  EXPECT_EQ(crc32c({}), 0u);
}

// What Python prints, or nothing if it failed.
std::string python(const std::string& script, const std::string& argument) {
  const std::string source = TERSE_SOURCE_DIR;
  const ProgramEnd end =
      run_program({source + "/.venv-peers/bin/python", script, argument}, "/dev/null");
  return end.code == 0 ? end.output : std::string();
}

// TensorBoard's own reader (which checks every CRC) sees each value once: after a resumption, the
// second file's steps replace the first's.
TEST(EventFile, TensorBoardReadsItBack) {
  if (!std::filesystem::exists(std::string(TERSE_SOURCE_DIR) + "/.venv-peers/bin/tensorboard")) {
    GTEST_SKIP() << "no .venv-peers with tensorboard; scripts/setup --peers makes it";
  }
  TemporaryDirectory folder;
  FileSystem& fs = FileSystem::real();
  {
    EventFile file(fs, folder.path(), 1e9, "host", 1);
    for (int64_t step = 1; step <= 300; ++step) {  // 300: a varint of two bytes
      file.add(step, 1e9 + static_cast<double>(step),
               std::array<Scalar, 2>{{{"train/loss", 1.0 / static_cast<double>(step)},
                                      {"wire", static_cast<double>(step)}}});
    }
  }
  {
    EventFile file(fs, folder.path(), 2e9, "host", 201);
    file.add(201, 2e9 + 1, std::array<Scalar, 1>{{{"train/loss", -1.0}}});
    file.sync();
  }
  std::string expected = "steps 201 wire 200\n";
  for (int64_t step = 1; step <= 200; ++step) {
    expected +=
        fmt::format("{} {:.9g} {}\n", step,
                    static_cast<double>(static_cast<float>(1.0 / static_cast<double>(step))),
                    1000000000 + step);
  }
  expected += "201 -1 2000000001\n";
  const std::string script = TERSE_SOURCE_DIR "/tests/trainer/telemetry/read_events.py";
  EXPECT_EQ(python(script, folder.path()), expected);
}

}  // namespace
}  // namespace terse
