#include "trainer/data/prepare.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "tests/trainer/data/sample_text.h"
#include "tests/trainer/data/temporary_folder.h"
#include "trainer/data/shard.h"
#include "trainer/data/tokenizer.h"

namespace terse {
namespace {

using testing::HasSubstr;

class PrepareTest : public testing::Test {
 protected:
  PrepareOptions options(std::vector<std::string> texts) const {
    return {.texts = std::move(texts),
            .out = folder_.file("data"),
            .vocab = 400,
            .valid = 0.1,
            .tokenizer = "",
            .context = 64};
  }
  void expect_refused(const PrepareOptions& wrong, const std::string& message,
                      ExitCode code = ExitCode::invalid_file) const {
    try {
      prepare_data(wrong);
      FAIL() << message;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code);
      EXPECT_THAT(error.what(), HasSubstr(message));
    }
    EXPECT_FALSE(FileSystem::real().exists(wrong.out + "/data.json"));
  }
  TemporaryFolder folder_;
};

std::vector<int32_t> tokens_of(const std::string& path) {
  const TokenShard shard(path);
  std::vector<int64_t> wide(static_cast<size_t>(shard.count()));
  shard.read(0, wide);
  return {wide.begin(), wide.end()};
}

TEST_F(PrepareTest, ShardsHoldTheWholeText) {
  const std::string text = sample_text(1500);
  const DataSummary summary = prepare_data(options({folder_.write("a.txt", text)}));
  EXPECT_FALSE(summary.reused);
  EXPECT_EQ(summary.vocab, 400);
  const Tokenizer tokenizer = Tokenizer::load(folder_.file("data/tokenizer.model"));
  std::vector<int32_t> train = tokens_of(folder_.file("data/train.bin"));
  std::vector<int32_t> valid = tokens_of(folder_.file("data/valid.bin"));
  EXPECT_EQ(summary.train_tokens, static_cast<int64_t>(train.size()));
  EXPECT_EQ(summary.valid_tokens, static_cast<int64_t>(valid.size()));
  EXPECT_EQ(train.back(), tokenizer.eos());
  EXPECT_EQ(valid.back(), tokenizer.eos());
  train.pop_back();
  valid.pop_back();
  const std::string first = tokenizer.decode(train);
  EXPECT_EQ(first + tokenizer.decode(valid), text);
  EXPECT_EQ(first.back(), '\n');  // cut at a line end
  EXPECT_NEAR(static_cast<double>(first.size()) / static_cast<double>(text.size()), 0.9, 0.01);
  const auto json = nlohmann::json::parse(summary.to_json());
  EXPECT_EQ(json["train_tokens"], summary.train_tokens);
  EXPECT_EQ(json["reused"], false);
}

TEST_F(PrepareTest, SeveralTextsEndWithTheEndToken) {
  const auto a = folder_.write("a.txt", sample_text(900));
  const auto b = folder_.write("b.txt", sample_text(600));
  prepare_data(options({a, b}));
  const std::vector<int32_t> train = tokens_of(folder_.file("data/train.bin"));
  EXPECT_EQ(std::ranges::count(train, 2), 2);
}

TEST_F(PrepareTest, SecondRunDoesNothingUntilSomethingChanges) {
  const auto path = folder_.write("a.txt", sample_text(1500));
  PrepareOptions wanted = options({path});
  int reports = 0;
  prepare_data(wanted, [&](const std::string&, double) { ++reports; });
  EXPECT_GT(reports, 0);
  reports = 0;
  const DataSummary again = prepare_data(wanted, [&](const std::string&, double) { ++reports; });
  EXPECT_TRUE(again.reused);
  EXPECT_EQ(reports, 0);
  EXPECT_GT(again.train_tokens, 0);
  EXPECT_THAT(again.to_text(), HasSubstr("already prepared"));

  wanted.vocab = 390;
  EXPECT_FALSE(prepare_data(wanted).reused);
  folder_.write("a.txt", sample_text(1501));
  EXPECT_FALSE(prepare_data(wanted).reused);
  EXPECT_TRUE(prepare_data(wanted).reused);
}

TEST_F(PrepareTest, DamagedFolderIsPreparedAgain) {
  const PrepareOptions wanted = options({folder_.write("a.txt", sample_text(1500))});
  for (const std::string name : {"train.bin", "valid.bin", "tokenizer.model", "data.json"}) {
    prepare_data(wanted);
    std::string bytes = read_text(folder_.file("data/" + name));
    if (name == "data.json") bytes.resize(bytes.size() / 2);
    bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
    folder_.write("data/" + name, bytes);
    EXPECT_FALSE(prepare_data(wanted).reused) << name;
    EXPECT_TRUE(prepare_data(wanted).reused) << name;
  }
}

TEST_F(PrepareTest, GivenTokenizerIsUsed) {
  const std::string model = Tokenizer::train({sample_text(2000)}, 300).model();
  PrepareOptions wanted = options({folder_.write("a.txt", sample_text(1500))});
  wanted.tokenizer = folder_.write("given.model", model);
  EXPECT_EQ(prepare_data(wanted).vocab, 300);
  EXPECT_EQ(read_text(folder_.file("data/tokenizer.model")), model);
}

TEST_F(PrepareTest, BadInputIsRefusedBeforeAnythingIsWritten) {
  expect_refused(options({folder_.file("missing.txt")}), "missing.txt");
  expect_refused(options({folder_.write("e.txt", "")}), "e.txt: the text is empty");
  expect_refused(options({folder_.write("s.txt", "too short\n")}),
                 "10 bytes is shorter than one sequence of 64 tokens");
  expect_refused(options({folder_.write("u.txt", sample_text(100) + "\xff")}), "not UTF-8 at byte");
  expect_refused(options({folder_.path()}), "not a regular file");
  expect_refused(options({}), "no text", ExitCode::usage);
  PrepareOptions all_valid = options({folder_.write("a.txt", sample_text(100))});
  all_valid.valid = 1;
  expect_refused(all_valid, "between 0 and 1", ExitCode::usage);
  expect_refused(options({folder_.write("few.txt", std::string(100, 'a'))}), "[data] vocab",
                 ExitCode::usage);
}

TEST_F(PrepareTest, PartsShorterThanASequenceAreRefused) {
  PrepareOptions wanted = options({folder_.write("a.txt", sample_text(1000))});
  wanted.valid = 0.001;
  expect_refused(wanted, "the validation part has");
}

}  // namespace
}  // namespace terse
