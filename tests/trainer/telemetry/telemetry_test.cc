#include "trainer/telemetry/telemetry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "tests/support/faulty_file_system.h"
#include "tests/support/temporary_directory.h"
#include "tests/trainer/telemetry/synthetic_run.h"
#include "trainer/telemetry/results.h"

namespace terse {
namespace {

constexpr int64_t kSteps = 40;

void take(Telemetry& telemetry, int64_t first, int64_t last) {
  for (int64_t step = first; step <= last; ++step) {
    telemetry.step(test::synthetic_step(step, kSteps));
    if (step % 10 == 0) telemetry.eval({.step = step, .loss = 3.0 - 0.01 * double(step)});
  }
}

// Killed at step 27 with a checkpoint of step 20: afterwards the files are those of a run that was
// never killed, byte for byte, and so are the sums.
TEST(Telemetry, ResumedFilesEqualUninterruptedOnes) {
  TemporaryDirectory whole_folder;
  const RunFiles whole{whole_folder.path() + "/whole"}, killed{whole_folder.path() + "/killed"};
  const auto silent = [](std::string_view) {};
  FileSystem& fs = FileSystem::real();
  Telemetry reference(fs, whole, {}, kSteps, 0, silent);
  take(reference, 1, kSteps);
  const DecisionRecord saved{.step = 21, .what = "exchange", .value = "bits", .reason = ""};
  reference.decision(saved);
  reference.decision({.step = 25, .what = "freeze", .value = "on", .reason = ""});
  {
    Telemetry first(fs, killed, {}, kSteps, 0, silent);
    take(first, 1, 27);
    first.decision(saved);  // made in step 20, so that the checkpoint holds it
    first.decision({.step = 25, .what = "freeze", .value = "on", .reason = ""});
  }
  Telemetry second(fs, killed, {}, kSteps, 20, silent);
  take(second, 21, kSteps);
  second.decision({.step = 25, .what = "freeze", .value = "on", .reason = ""});
  second.sync();

  EXPECT_EQ(read_text(killed.metrics()), read_text(whole.metrics()));
  EXPECT_EQ(read_text(killed.decisions()), read_text(whole.decisions()));
  EXPECT_EQ(second.summary().steps, kSteps);
  EXPECT_EQ(second.summary().wire_bytes, reference.summary().wire_bytes);
  EXPECT_EQ(second.summary().dense_bytes, reference.summary().dense_bytes);
  EXPECT_EQ(second.summary().seconds, reference.summary().seconds);
  EXPECT_EQ(second.summary().loss, reference.summary().loss);
}

// A disk that fills up at any call is an Error(invalid_file); once there is room, the run goes on
// from its checkpoint as if nothing had been.
TEST(Telemetry, ADiskThatFillsUp) {
  const auto silent = [](std::string_view) {};
  for (int64_t fail_at = 0;; ++fail_at) {
    TemporaryDirectory folder;
    const RunFiles files{folder / "run"};
    FaultyFileSystem full(fail_at);
    try {
      Telemetry telemetry(full, files, {}, kSteps, 0, silent);
      take(telemetry, 1, 5);
      telemetry.sync();
      break;  // the disk was large enough
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::invalid_file) << error.what();
    }
    Telemetry again(FileSystem::real(), files, {}, kSteps, 2, silent);
    take(again, 3, 5);
    int64_t last = 0;
    for (const Record& record : parse_records(read_text(files.metrics()))) {
      EXPECT_GT(step_of(record), last) << fail_at;
      last = step_of(record);
    }
    EXPECT_EQ(last, 5);
    ASSERT_LT(fail_at, 100);
  }
}

TEST(Telemetry, SumsAreThoseOfTheRecords) {
  TemporaryDirectory folder;
  Telemetry telemetry(FileSystem::real(), {folder.path()}, {}, kSteps, 0, [](std::string_view) {});
  take(telemetry, 1, kSteps);
  // The first fifth is dense.
  EXPECT_EQ(telemetry.summary().wire_bytes, 8 * 27276288 + 32 * 869376);
  EXPECT_EQ(telemetry.summary().dense_bytes, 40 * 27276288);
  EXPECT_NEAR(telemetry.summary().tokens_per_second, 4096 / 0.29, 0.04 * 4096 / 0.29);
}

TEST(Telemetry, DecisionsAreShown) {
  TemporaryDirectory folder;
  std::string out;
  Telemetry telemetry(FileSystem::real(), {folder.path()}, {}, kSteps, 0,
                      [&](std::string_view text) { out += text; });
  telemetry.decision({.step = 5, .what = "codec", .value = "onebit", .reason = "slow link"});
  EXPECT_EQ(out, "from step 5: codec = onebit; slow link\n");
}

TEST(Results, ComeBack) {
  TemporaryDirectory folder;
  const RunFiles files{folder.path()};
  EXPECT_TRUE(read_results(files.results()).evaluations.empty());
  EXPECT_TRUE(read_layers(files.layers()).empty());
  RunResults results;
  results.name = "n";
  results.parameters = 12;
  results.ranks = 4;
  results.evaluations = {
      {.step = 1, .loss = 2, .perplexity = 3, .tokens = 4, .seconds = 5, .name = "v"}};
  results.exports = {{.format = "f",
                      .path = "p",
                      .bytes = 1,
                      .fp16_bytes = 2,
                      .bits_per_weight = 4.5,
                      .tensors = 3,
                      .tensors_equal = 3}};
  results.engines = {{.engine = "e",
                      .file = "f",
                      .perplexity = 2,
                      .terse_perplexity = 3,
                      .tokens = 4,
                      .generated = "\xc3\xa4 \"quoted\""}};
  write_results(FileSystem::real(), files.results(), results);
  const RunResults back = read_results(files.results());
  EXPECT_EQ(back.name, results.name);
  EXPECT_EQ(back.parameters, results.parameters);
  EXPECT_EQ(back.ranks, results.ranks);
  EXPECT_EQ(back.evaluations, results.evaluations);
  EXPECT_EQ(back.exports, results.exports);
  EXPECT_EQ(back.engines, results.engines);

  const std::vector<LayerRecord> layers = {{.name = "l",
                                            .rows = 1,
                                            .columns = 2,
                                            .representation = "r",
                                            .bits = 4.5,
                                            .relative_error = 0.1,
                                            .residual_norm = 0.2,
                                            .histogram = {{-8, 3}, {7, 1}}}};
  write_layers(FileSystem::real(), files.layers(), layers);
  EXPECT_EQ(read_layers(files.layers()), layers);
}

}  // namespace
}  // namespace terse
