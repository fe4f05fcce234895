#include "trainer/checkpoint/checkpoint.h"

#include <gtest/gtest.h>

#include <barrier>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <thread>

#include "base/error.h"
#include "tests/support/faulty_file_system.h"
#include "tests/support/temporary_directory.h"

namespace terse {
namespace {

GatherParts alone() {
  return [](const CheckpointPart& part) { return std::vector<CheckpointPart>{part}; };
}

// What a small run holds at `step`: values that tell steps and ranks apart.
struct State {
  std::vector<float> weights;
  std::vector<float> residual;
  State(int64_t step, int64_t rank)
      : weights(100, static_cast<float>(step)), residual(7, static_cast<float>(step * 10 + rank)) {}
  void put(CheckpointWriter& writer) const {
    writer.tensor(Scope::shared, "model/w", {DType::f32, {10, 10}, bytes_of(weights.data(), 100)});
    writer.tensor(Scope::own, "exchange/residual/w",
                  {DType::f32, {7}, bytes_of(residual.data(), 7)});
    writer.value(Scope::shared, "cursor", int64_t{1} << 60);
    writer.value(Scope::shared, "norm", 0.1);
    writer.value(Scope::shared, "plan", std::string("a\nb"));
    writer.value(Scope::own, "seed", int64_t{-3});
    writer.value(Scope::own, "scale", std::nextafter(1.0, 2.0));
    writer.value(Scope::own, "note", std::string("x"));
  }
};

void save_state(FileSystem& fs, const std::string& run, int64_t step, const State& state,
                int64_t keep) {
  CheckpointWriter writer(fs, run, step, 0, alone());
  state.put(writer);
  writer.commit(keep);
}

void save(FileSystem& fs, const std::string& run, int64_t step, int64_t keep = 0) {
  save_state(fs, run, step, State(step, 0), keep);
}

float weight_of(const Checkpoint& checkpoint) {
  return checkpoint.require(Scope::shared, "model/w", DType::f32, {10, 10}).as<float>()[0];
}

void overwrite(const std::string& path, int64_t at, char value) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(at);
  file.put(value);
}

TEST(Checkpoint, RoundTripsBitForBit) {
  TemporaryDirectory run;
  save(FileSystem::real(), run.path(), 120);
  const auto search = newest_checkpoint(run.path(), 0);
  ASSERT_TRUE(search.found);
  const Checkpoint& c = *search.found;
  EXPECT_EQ(c.step(), 120);
  EXPECT_EQ(c.saved_ranks(), 1);
  EXPECT_EQ(weight_of(c), 120.0f);
  EXPECT_EQ(c.require(Scope::own, "exchange/residual/w", DType::f32, {7}).as<float>()[6], 1200.0f);
  EXPECT_EQ(c.require_integer(Scope::shared, "cursor"), int64_t{1} << 60);
  EXPECT_EQ(c.require_number(Scope::shared, "norm"), 0.1);
  EXPECT_EQ(c.require_text(Scope::shared, "plan"), "a\nb");
  EXPECT_EQ(c.require_integer(Scope::own, "seed"), -3);
  EXPECT_EQ(c.require_number(Scope::own, "scale"), std::nextafter(1.0, 2.0));
  EXPECT_EQ(c.require_text(Scope::own, "note"), "x");
  EXPECT_THROW((void)c.require_integer(Scope::shared, "absent"), Error);
  EXPECT_EQ(c.tensor_names(Scope::shared), std::vector<std::string>{"model/w"});
}

TEST(Checkpoint, RanksWriteTogetherAndReadEachOther) {
  TemporaryDirectory run;
  constexpr int64_t kRanks = 3;
  std::vector<CheckpointPart> board(kRanks);
  std::barrier meet(kRanks);
  std::vector<std::thread> threads;
  for (int64_t rank = 0; rank < kRanks; ++rank)
    threads.emplace_back([&, rank] {
      const GatherParts gather = [&, rank](const CheckpointPart& part) {
        board[static_cast<size_t>(rank)] = part;
        meet.arrive_and_wait();
        auto all = board;
        meet.arrive_and_wait();
        return all;
      };
      const State state(5, rank);
      CheckpointWriter writer(FileSystem::real(), run.path(), 5, rank, gather);
      state.put(writer);
      writer.commit(0);
    });
  for (auto& thread : threads) thread.join();
  const auto search = newest_checkpoint(run.path(), 1);
  ASSERT_TRUE(search.found);
  EXPECT_EQ(search.found->saved_ranks(), kRanks);
  EXPECT_EQ(search.found->tensor(Scope::own, "exchange/residual/w")->as<float>()[0], 51.0f);
  EXPECT_EQ(search.found->tensor(Scope::own, "exchange/residual/w", 2)->as<float>()[0], 52.0f);
  // A fourth rank of a larger run finds nothing of its own and says so by an empty answer.
  EXPECT_FALSE(newest_checkpoint(run.path(), 3).found->tensor(Scope::own, "exchange/residual/w"));
}

// The disk fills up at every possible call of a save: the older checkpoint still is the newest, or
// the new one is whole; nothing half-written is left.
TEST(Checkpoint, FullDiskKeepsThePreviousOne) {
  int64_t published = 0;
  for (int64_t fail_at = 0; fail_at < 64; ++fail_at) {
    TemporaryDirectory run;
    save(FileSystem::real(), run.path(), 1);
    FaultyFileSystem fs(fail_at);
    bool failed = false;
    try {
      save(fs, run.path(), 2);
    } catch (const Error& error) {
      failed = true;
      EXPECT_EQ(error.code(), ExitCode::invalid_file);
      EXPECT_NE(std::string(error.what()).find("step-00000002"), std::string::npos);
    }
    const auto search = newest_checkpoint(run.path(), 0);
    ASSERT_TRUE(search.found);
    EXPECT_TRUE(search.rejected.empty()) << search.rejected.front();
    if (!failed) {
      EXPECT_EQ(search.found->step(), 2);
    }
    EXPECT_EQ(weight_of(*search.found), static_cast<float>(search.found->step()));
    for (const auto& name : FileSystem::real().list(run / "checkpoints"))
      EXPECT_TRUE(name.starts_with("step-")) << name;
    if (!failed) ++published;
  }
  EXPECT_GT(published, 0) << "the loop never reached the end of a save";
}

// Whole, of the same step and size, but another run's: residuals of other weights.
TEST(Checkpoint, ARankFileOfAnotherRunIsRefused) {
  TemporaryDirectory run, other;
  for (const int64_t step : {6, 7}) save(FileSystem::real(), run.path(), step);
  save_state(FileSystem::real(), other.path(), 7, State(7, 1), 0);
  ASSERT_TRUE(newest_checkpoint(other.path(), 0).rejected.empty());
  const std::string file = "checkpoints/step-00000007/rank-00000.safetensors";
  ASSERT_EQ(std::filesystem::file_size(run / file), std::filesystem::file_size(other / file));
  std::filesystem::copy_file(other / file, run / file,
                             std::filesystem::copy_options::overwrite_existing);
  const auto search = newest_checkpoint(run.path(), 0);
  ASSERT_TRUE(search.found);
  EXPECT_EQ(search.found->step(), 6);
  ASSERT_EQ(search.rejected.size(), 1u);
  const std::string& why = search.rejected[0];
  EXPECT_NE(why.find("rank-00000.safetensors: its content does not match the manifest's checksum"),
            std::string::npos)
      << why;
}

// Every single byte of a checkpoint, flipped, is found; the previous one is used and the reason
// given.
TEST(Checkpoint, EveryFlippedByteFallsBack) {
  TemporaryDirectory run;
  save(FileSystem::real(), run.path(), 1);
  save(FileSystem::real(), run.path(), 2);
  const std::string folder = run / "checkpoints/step-00000002/";
  for (const char* name : {"manifest.json", "shared.safetensors", "rank-00000.safetensors"}) {
    const std::string content = read_text(folder + name);
    for (size_t at = 0; at < content.size(); ++at) {
      overwrite(folder + name, static_cast<int64_t>(at), static_cast<char>(content[at] ^ 0x20));
      const auto search = newest_checkpoint(run.path(), 0);
      ASSERT_TRUE(search.found);
      ASSERT_EQ(search.found->step(), 1) << name << " byte " << at;
      ASSERT_EQ(search.rejected.size(), 1u);
      overwrite(folder + name, static_cast<int64_t>(at), content[at]);
    }
    std::filesystem::resize_file(folder + name, content.size() / 2);
    EXPECT_EQ(newest_checkpoint(run.path(), 0).found->step(), 1);
    write_atomically(FileSystem::real(), folder + name, content);
    EXPECT_EQ(newest_checkpoint(run.path(), 0).found->step(), 2);
  }
}

TEST(Checkpoint, MissingFileIsNamed) {
  TemporaryDirectory run;
  save(FileSystem::real(), run.path(), 7);
  FileSystem::real().remove(run / "checkpoints/step-00000007/rank-00000.safetensors");
  const auto search = newest_checkpoint(run.path(), 0);
  EXPECT_FALSE(search.found);
  ASSERT_EQ(search.rejected.size(), 1u);
  EXPECT_NE(search.rejected[0].find("rank-00000.safetensors"), std::string::npos);
}

TEST(Checkpoint, KeepsTheNewestAndRemovesLeftovers) {
  TemporaryDirectory run;
  for (int64_t step = 1; step <= 5; ++step) save(FileSystem::real(), run.path(), step, 2);
  using Names = std::vector<std::string>;
  EXPECT_EQ(FileSystem::real().list(run / "checkpoints"),
            (Names{"step-00000004", "step-00000005"}));
  std::filesystem::create_directories(run / "checkpoints/.tmp-step-00000006");
  std::filesystem::create_directories(run / "checkpoints/.del-step-00000001");
  EXPECT_EQ(newest_checkpoint(run.path(), 0).found->step(), 5);
  remove_unfinished_checkpoints(FileSystem::real(), run.path());
  EXPECT_EQ(FileSystem::real().list(run / "checkpoints"),
            (Names{"step-00000004", "step-00000005"}));
}

// A damaged newer folder neither counts as kept nor survives the save that replaces it.
TEST(Checkpoint, DamagedNewerOneDoesNotCostAValidOne) {
  TemporaryDirectory run;
  for (const int64_t step : {50, 60}) save(FileSystem::real(), run.path(), step, 2);
  overwrite(run / "checkpoints/step-00000060/shared.safetensors", 30, '?');
  EXPECT_EQ(newest_checkpoint(run.path(), 0).found->step(), 50);
  save(FileSystem::real(), run.path(), 53, 1);
  using Names = std::vector<std::string>;
  EXPECT_EQ(FileSystem::real().list(run / "checkpoints"), (Names{"step-00000053"}));
}

TEST(Checkpoint, NoneAtAll) {
  TemporaryDirectory run;
  EXPECT_FALSE(newest_checkpoint(run.path(), 0).found);
}

}  // namespace
}  // namespace terse
