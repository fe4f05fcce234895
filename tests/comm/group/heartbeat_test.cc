// A store that does not answer for a while, and one that never does again.
#include "comm/heartbeat.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <torch/csrc/distributed/c10d/HashStore.hpp>

namespace terse {
namespace {

using namespace std::chrono_literals;

// A HashStore behind a line that can be cut.
class CutStore final : public c10d::Store {
 public:
  CutStore(c10::intrusive_ptr<c10d::HashStore> store, std::shared_ptr<std::atomic<bool>> cut)
      : store_(std::move(store)), cut_(std::move(cut)) {}
  c10::intrusive_ptr<c10d::Store> clone() override {
    check();
    return c10::make_intrusive<CutStore>(store_, cut_);
  }
  void set(const std::string& key, const std::vector<uint8_t>& value) override {
    check(), store_->set(key, value);
  }
  std::vector<uint8_t> get(const std::string& key) override { return check(), store_->get(key); }
  int64_t add(const std::string& key, int64_t n) override { return check(), store_->add(key, n); }
  bool deleteKey(const std::string& key) override { return check(), store_->deleteKey(key); }
  bool check(const std::vector<std::string>& keys) override { return check(), store_->check(keys); }
  int64_t getNumKeys() override { return store_->getNumKeys(); }
  void wait(const std::vector<std::string>& keys) override { check(), store_->wait(keys); }
  void wait(const std::vector<std::string>& keys, const std::chrono::milliseconds& t) override {
    check(), store_->wait(keys, t);
  }
  std::vector<uint8_t> compareSet(const std::string& key, const std::vector<uint8_t>& expected,
                                  const std::vector<uint8_t>& desired) override {
    return check(), store_->compareSet(key, expected, desired);
  }

 private:
  void check() const {
    if (*cut_) throw std::runtime_error("Broken pipe");
  }
  c10::intrusive_ptr<c10d::HashStore> store_;
  std::shared_ptr<std::atomic<bool>> cut_;
};

struct Pair {
  c10::intrusive_ptr<c10d::HashStore> store = c10::make_intrusive<c10d::HashStore>();
  std::shared_ptr<std::atomic<bool>> cut = std::make_shared<std::atomic<bool>>(false);
  std::shared_ptr<std::atomic<bool>> whole = std::make_shared<std::atomic<bool>>(false);

  // Rank 1's line can be cut.
  Heartbeat first(std::chrono::milliseconds limit) {
    return {c10::make_intrusive<CutStore>(store, whole), 0, 2, false, true, limit};
  }
  Heartbeat second(std::chrono::milliseconds limit) {
    return {c10::make_intrusive<CutStore>(store, cut), 1, 2, false, true, limit};
  }
};

TEST(Heartbeat, AStoreThatAnswersAgainWithinTheLimitIsNoFailure) {
  Pair pair;
  Heartbeat first = pair.first(20s), second = pair.second(20s);
  *pair.cut = true;
  std::this_thread::sleep_for(1200ms);  // two beats fail
  EXPECT_FALSE(second.failure());
  *pair.cut = false;
  EXPECT_TRUE(first.silent_ranks(10s).empty()) << "rank 1 does not beat again";
  EXPECT_FALSE(first.failure());
  EXPECT_FALSE(second.failure());
}

TEST(Heartbeat, AStoreThatIsSilentForTheLimitIsGivenUp) {
  Pair pair;
  Heartbeat first = pair.first(20s), second = pair.second(1s);
  *pair.cut = true;
  for (int i = 0; i < 500 && !second.failure(); ++i) std::this_thread::sleep_for(20ms);
  ASSERT_TRUE(second.failure());
  EXPECT_EQ(second.failure()->lost, std::vector<int>{0});
  EXPECT_NE(second.failure()->text.find("hosts the store"), std::string::npos);
}

TEST(Heartbeat, BehindACutLineIsTheRankThatHostsTheStore) {
  Pair pair;
  Heartbeat first = pair.first(60s), second = pair.second(60s);
  EXPECT_EQ(second.behind(0), "none");
  *pair.cut = true;
  EXPECT_EQ(second.behind(0), "rank 0, whose store does not answer");
}

// A transport broke as well: nobody waits for the limit.
TEST(Heartbeat, DiagnosisGivesASilentStoreUpAtOnce) {
  Pair pair;
  Heartbeat first = pair.first(60s), second = pair.second(60s);
  *pair.cut = true;
  ASSERT_TRUE(second.diagnose(5s));
  EXPECT_EQ(second.failure()->lost, std::vector<int>{0});
}

}  // namespace
}  // namespace terse
