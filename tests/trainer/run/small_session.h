// Sessions of 60 steps on a model of 6,000 parameters and data made here, in one process.
#pragma once
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/temporary_directory.h"
#include "trainer/data/shard.h"
#include "trainer/session.h"

namespace terse {

// `more`: further tables, or further keys of [optim].
inline std::string small_recipe(const std::string& more) {
  return "[model]\nlayers = 1\nwidth = 32\nheads = 2\nhidden = 64\ncontext = 8\n"
         "[train]\nsteps = 60\nbatch_tokens = 32\nseed = 3\ncompute = \"bf16\"\n"
         "[optim]\nlr = 1e-2\n" +
         more;
}

class SmallSession : public ::testing::Test {
 protected:
  static constexpr int64_t kSteps = 60;

  SmallSession() {
    at::set_num_threads(1);  // nothing here is large enough for two
    std::vector<int32_t> tokens;
    for (uint32_t state = 1; tokens.size() < 4000;) {
      state = state * 1664525u + 1013904223u;
      tokens.push_back(static_cast<int32_t>((state >> 24) % 17 + tokens.size() % 3));
    }
    for (const std::string& name : {data_.train, data_.valid})
      write_shard(FileSystem::real(), name, tokens, 32);
  }

  std::unique_ptr<Session> session(const std::string& more) const {
    const Recipe recipe = parse_recipe(small_recipe(more), "test");
    return std::make_unique<Session>(recipe, Group::single(), data_, at::kCPU, 0, 1);
  }

  ModelShape model_shape() const {
    return shape_of(parse_recipe(small_recipe(""), "test").model, data_);
  }

  // If one step from the state after k gives the state after k + 1, for every k, then so does every
  // resumption.
  void resume_at_every_step(const std::string& more) const;

  TemporaryDirectory folder_;
  DataFiles data_{folder_ / "train.bin", folder_ / "valid.bin", 32, 1, std::nullopt};
};

inline std::shared_ptr<MemoryState> saved(Session& session) {
  auto state = std::make_shared<MemoryState>();
  session.save(*state);
  return state;
}

inline void expect_same(const MemoryState& a, const MemoryState& b) {
  ASSERT_EQ(a.names(), b.names());
  for (const std::string& name : a.names()) {
    const auto x = a.tensor(Scope::shared, name, 0), y = b.tensor(Scope::shared, name, 0);
    EXPECT_TRUE(x->data.size() == y->data.size() &&
                std::memcmp(x->data.data(), y->data.data(), x->data.size()) == 0)
        << name;
  }
}

inline void SmallSession::resume_at_every_step(const std::string& more) const {
  SCOPED_TRACE(more);
  auto run = session(more);
  std::vector<std::shared_ptr<MemoryState>> states = {saved(*run)};
  std::vector<StepRecord> records = {{}};
  for (int64_t k = 0; k < kSteps; ++k) {
    records.push_back(run->train_step());
    states.push_back(saved(*run));
  }
  for (int64_t k = 0; k < kSteps; ++k) {
    auto resumed = session(more);
    resumed->load(*states[static_cast<size_t>(k)]);
    const StepRecord record = resumed->train_step();
    const StepRecord& expected = records[static_cast<size_t>(k + 1)];
    expect_same(*saved(*resumed), *states[static_cast<size_t>(k + 1)]);
    EXPECT_EQ(record.loss, expected.loss);
    EXPECT_EQ(record.stage + record.pattern, expected.stage + expected.pattern);
    EXPECT_EQ(record.beta, expected.beta);
    EXPECT_EQ(record.mask_changed, expected.mask_changed);
    if (::testing::Test::HasFailure()) FAIL() << "resumed after step " << k;
  }
}

}  // namespace terse
