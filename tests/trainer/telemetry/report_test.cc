#include "trainer/telemetry/report.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "base/file_system.h"
#include "base/run_program.h"
#include "tests/support/temporary_directory.h"
#include "tests/trainer/telemetry/synthetic_run.h"

namespace terse {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// Faults that Python's HTML parser finds in a page: unbalanced tags, repeated ids, dangling labels,
// anything loaded from elsewhere. Empty: none.
std::string faults(const std::string& html, const std::string& folder) {
  const std::string path = folder + "/page.html";
  write_atomically(FileSystem::real(), path, html);
  const std::string source = TERSE_SOURCE_DIR;
  const ProgramEnd end = run_program(
      {"python3", source + "/tests/trainer/telemetry/check_html.py", path}, folder + "/check.log");
  EXPECT_EQ(end.code, 0) << read_text(folder + "/check.log");
  return end.output;
}

TEST(Report, ShowsTheWholeRun) {
  TemporaryDirectory folder;
  const RunFiles files{folder.path() + "/run"};
  test::write_synthetic_run(files, 200);
  const std::string html = render_report(files);
  EXPECT_EQ(faults(html, folder.path()), "");
  for (const char* text :
       {"Loss against step", "Loss against time", "Loss against bytes sent", "Learning rate",
        "Bytes in each step", "Exposed communication", "Speed", "Error feedback",
        "57 of 57 tensors equal", "+0.040 %", "model.layers.5.mlp.down_proj.weight",
        "768 \u00d7 256", "variance frozen", "name = &quot;onebit_adam&quot;", "node&lt;1&gt;",
        "&lt;Go&gt; &amp; do it.", "6.82M parameters", "x4.43"}) {
    EXPECT_TRUE(html.find(text) != std::string::npos) << text;  // the page itself is no message
  }
}

// A run whose masks set in: beta falls, patterns are bands behind it.
TEST(Report, ShowsTheMasks) {
  TemporaryDirectory folder;
  const RunFiles files{folder.path() + "/run"};
  FileSystem::real().make_directories(files.directory);
  std::string lines;
  for (int64_t k = 1; k <= 40; ++k) {
    StepRecord step = test::synthetic_step(k, 40);
    step.stage = k <= 10 ? "dense" : k <= 30 ? "progressive" : "fine";
    step.pattern = k <= 10 ? "" : k <= 20 ? "4:8" : "2:8";
    step.beta = k <= 10 ? 1.0 : k <= 30 ? 0.5 : 0.0;
    lines += to_json(step) + "\n";
  }
  write_atomically(FileSystem::real(), files.metrics(), lines);
  const std::string html = render_report(files);
  EXPECT_EQ(faults(html, folder.path()), "");
  for (const char* text : {"Masks", "What pruned weights are multiplied with", "4:8", "2:8"})
    EXPECT_TRUE(html.find(text) != std::string::npos) << text;
  test::write_synthetic_run({folder.path() + "/other"}, 50);
  EXPECT_THAT(render_report({folder.path() + "/other"}), Not(HasSubstr(">Masks<")));
}

TEST(Report, BytesByPhaseAreTheSumsOfTheRecords) {
  TemporaryDirectory folder;
  const RunFiles files{folder.path() + "/run"};
  test::write_synthetic_run(files, 100);
  const std::string html = render_report(files);
  // 20 dense steps of 27,276,288 bytes; 80 compressed ones of 869,376.
  EXPECT_THAT(
      html,
      HasSubstr("<th scope=\"row\">dense</th><td class=\"n\">20</td><td class=\"n\">546 MB</td>"));
  EXPECT_THAT(
      html,
      HasSubstr(
          "<th scope=\"row\">compressed</th><td class=\"n\">80</td><td class=\"n\">69.6 MB</td>"));
}

TEST(Report, DoesWithoutMissingFiles) {
  TemporaryDirectory folder;
  const RunFiles files{folder.path() + "/run"};
  test::write_synthetic_run(files, 50);
  FileSystem& fs = FileSystem::real();
  for (const std::string& path :
       {files.decisions(), files.recipe(), files.environment(), files.layers(), files.results()}) {
    fs.remove(path);
    EXPECT_EQ(faults(render_report(files), folder.path()), "") << path;
  }
  write_atomically(fs, files.metrics(), "");
  EXPECT_EQ(faults(render_report(files), folder.path()), "");
}

TEST(Report, SurvivesATornRunOfOneRankWithNotANumber) {
  TemporaryDirectory folder;
  const RunFiles files{folder.path()};
  std::string lines;
  for (int64_t i = 1; i <= 5; ++i) {
    StepRecord step = test::synthetic_step(i, 5);
    step.wire_bytes = step.dense_bytes = 0;
    if (i == 3) step.loss = std::numeric_limits<double>::quiet_NaN();
    lines += to_json(step) + "\n";
  }
  write_atomically(FileSystem::real(), files.metrics(), lines + "{\"kind\":\"st");
  const std::string html = render_report(files);
  EXPECT_EQ(faults(html, folder.path()), "");
  EXPECT_THAT(html, Not(HasSubstr("Loss against bytes")));
}

TEST(Report, WrongFilesAreNamed) {
  TemporaryDirectory folder;
  const RunFiles files{folder.path()};
  const auto message = [&] {
    try {
      render_report(files);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::invalid_file);
      return std::string(error.what());
    }
    return std::string("nothing was thrown");
  };
  EXPECT_THAT(message(), HasSubstr("metrics.jsonl"));
  write_atomically(FileSystem::real(), files.metrics(), "");
  write_atomically(FileSystem::real(), files.results(), "{\"ranks\": \"two\"}");
  EXPECT_THAT(message(), HasSubstr("results.json"));
}

}  // namespace
}  // namespace terse
