// `terse lab exchange` against DeepSpeed 0.19.6, and against sums of its own inputs.
#include <gtest/gtest.h>

#include "tests/comm/exchange/deepspeed.h"
#include "tests/trainer/lab/lab.h"

namespace terse::testing {
namespace {

const std::vector<std::string> kOnebit = {"exchange", "--codec", "onebit"};

at::Tensor joined(const std::vector<SafetensorsFile>& files, const std::string& name) {
  std::vector<at::Tensor> parts;
  for (const SafetensorsFile& file : files) parts.push_back(tensor_of(file, name));
  return at::cat(parts);
}

void check_calls(const Lab& lab, const DeepSpeed& oracle) {
  for (const int call : DeepSpeed::kRecorded) {
    std::vector<Tensors> inputs;
    for (int rank = 0; rank < oracle.ranks(); ++rank)
      inputs.push_back({{"x@0", message(oracle.elements(), rank, call)},
                        {"x@residual", oracle.state(call, rank, "worker_before")},
                        {"server_residual", oracle.state(call, rank, "server_before")}});
    const auto files = lab.run(kOnebit, inputs);
    for (int rank = 0; rank < oracle.ranks(); ++rank) {
      const SafetensorsFile& file = files[static_cast<size_t>(rank)];
      expect_call(oracle, call, rank,
                  {tensor_of(file, "x@0"), tensor_of(file, "x@residual"),
                   tensor_of(file, "server_residual")});
    }
  }
}

// The ledger closes to the rounding of fp32 sums over 200 calls of values near 1; a residual that
// is dropped once stands out a thousand times.
void check_free_running(const Lab& lab, const DeepSpeed& oracle) {
  std::vector<Tensors> inputs(static_cast<size_t>(oracle.ranks()));
  for (int rank = 0; rank < oracle.ranks(); ++rank)
    for (int call = 0; call < DeepSpeed::kCalls; ++call)
      inputs[static_cast<size_t>(rank)][fmt::format("x@{}", call)] =
          message(oracle.elements(), rank, call);
  const auto files = lab.run(kOnebit, inputs);
  FreeRun run(oracle);
  for (int call = 0; call < DeepSpeed::kCalls; ++call) {
    const at::Tensor answer = tensor_of(files[0], fmt::format("x@{}", call));
    run.add(call, answer);
    for (const SafetensorsFile& file : files)
      expect(at::equal(answer, tensor_of(file, fmt::format("x@{}", call))), "ranks differ");
  }
  at::Tensor kept = joined(files, "server_residual").to(at::kDouble);
  for (int rank = 0; rank < oracle.ranks(); ++rank) {
    const SafetensorsFile& file = files[static_cast<size_t>(rank)];
    const at::Tensor worker = tensor_of(file, "x@residual");
    run.expect_norms(DeepSpeed::kCalls - 1, rank, worker, tensor_of(file, "server_residual"));
    kept += worker.to(at::kDouble) / oracle.ranks();
  }
  EXPECT_LT((run.missing() - kept).abs().max().item<double>(), 1e-4);
  EXPECT_GT(kept.abs().max().item<double>(), 0.1);
}

class LabExchangeSlow : public ::testing::TestWithParam<int> {};

TEST_P(LabExchangeSlow, AgreesWithDeepSpeed) {
  const Lab lab;
  const DeepSpeed oracle(GetParam(),
                         TERSE_SOURCE_DIR "/tests/comm/exchange/golden/deepspeed.safetensors");
  check_calls(lab, oracle);
  check_free_running(lab, oracle);
}
INSTANTIATE_TEST_SUITE_P(Ranks, LabExchangeSlow, ::testing::Values(2, 3, 4),
                         ::testing::PrintToStringParamName());

// Segments in byte order of name whatever the file's order, shapes kept, bytes counted. Whole
// numbers, so that the mean of two ranks is exact.
TEST(LabExchange, DenseAveragesExactlyAndCountsItsBytes) {
  const at::Tensor b = at::arange(6, at::kFloat).view({2, 3}), a = at::arange(5, at::kFloat);
  std::vector<Tensors> inputs;
  for (int rank = 0; rank < 2; ++rank)
    inputs.push_back(
        {{"b@0", b * (rank + 1)}, {"a@0", a - rank}, {"b@1", b + 2 * rank}, {"a@1", a * 4 * rank}});
  const auto files = Lab().run({"exchange", "--codec", "fp32"}, inputs);
  for (const SafetensorsFile& file : files) {
    EXPECT_TRUE(at::equal(tensor_of(file, "b@0"), b * 1.5));
    EXPECT_TRUE(at::equal(tensor_of(file, "a@0"), a - 0.5));
    EXPECT_TRUE(at::equal(tensor_of(file, "b@1"), b + 1));
    EXPECT_TRUE(at::equal(tensor_of(file, "a@1"), a * 2));
    EXPECT_EQ(numbers(file, "wire_bytes"), numbers(file, "dense_bytes"));
  }
  // Chunks of 64 ceil(11 / 128) elements: rank 0 owns all 11, so rank 1 sends its 11 to rank 0 and
  // rank 0 the 11 averages to rank 1.
  EXPECT_EQ(numbers(files[0], "wire_bytes"), (std::vector<double>{44, 44}));
  EXPECT_EQ(numbers(files[1], "wire_bytes"), (std::vector<double>{44, 44}));
  EXPECT_EQ(files[0].metadata().at("server_offset"), "0");
  EXPECT_EQ(files[1].metadata().at("server_offset"), "11");
}

// One scale per segment, each with its own residual: two calls by hand, on one rank.
TEST(LabExchange, OnebitFollowsItsDefinitionBySegment) {
  const at::Tensor a = at::tensor({3.0f, -4.0f}), b = at::tensor({-100.0f, 100.0f, 100.0f});
  const auto files = Lab().run({"exchange", "--codec", "onebit", "--set", "scale=l1"},
                               {{{"a@0", a}, {"b@0", b}, {"a@1", at::zeros({2})}, {"b@1", b}}});
  // a: scale 3.5, residual (-0.5, -0.5); the server encodes +-3.5 without loss. Then x = (-.5,
  // -.5).
  EXPECT_TRUE(at::equal(tensor_of(files[0], "a@0"), at::tensor({3.5f, -3.5f})));
  EXPECT_TRUE(at::equal(tensor_of(files[0], "a@1"), at::tensor({-0.5f, -0.5f})));
  EXPECT_TRUE(at::equal(tensor_of(files[0], "b@0"), b));
  EXPECT_TRUE(at::equal(tensor_of(files[0], "a@residual"), at::zeros({2})));
}

// 30 words of 64 elements, k = ceil(0.0052 x 1920) = 10: few enough that the sample is the largest
// of every word, so the threshold is the tenth of them, 91. Three second-largest lie beyond it, and
// 13 are just 1.3 k.
TEST(LabExchange, TopKSelectsExactlyOrBeyondASample) {
  at::Tensor x = at::zeros({30, 64});
  for (int64_t word = 0; word < 30; ++word) x[word][3] = 100 - word;
  for (int64_t word = 0; word < 3; ++word) x[word][40] = -99.5 + static_cast<double>(word);
  const auto sent = [&](const std::string& select) {
    const auto files = Lab().run(
        {"exchange", "--codec", "topk", "--set", "density=0.0052", "--set", "select=" + select},
        {{{"x@0", x}}});
    return tensor_of(files[0], "x@0").clone();
  };
  EXPECT_TRUE(at::equal(sent("exact"), at::where(x.abs() >= 94, x, 0)));
  EXPECT_TRUE(at::equal(sent("sampled"), at::where(x.abs() >= 91, x, 0)));
}

// Sums of calls 6 to 15 are judged, and the choice holds from call 21 (counted from 0: 20) on.
TEST(LabExchange, LgrecoByTimeDecidesAlikeOnAllRanks) {
  std::vector<Tensors> inputs(2);
  for (int64_t rank = 0; rank < 2; ++rank)
    for (int64_t call = 0; call < 21; ++call) {
      inputs[static_cast<size_t>(rank)][fmt::format("a@{}", call)] =
          message(64 * 48, rank, call).view({64, 48});
      inputs[static_cast<size_t>(rank)][fmt::format("b@{}", call)] =
          0.01 * message(64 * 48, rank + 7, call).view({48, 64});
    }
  const auto files = Lab().run({"exchange", "--codec", "lgreco", "--set", "family=topk", "--set",
                                "density=0.05", "--set", "every=15", "--set", "cost=time"},
                               inputs);
  const std::string decided = files[0].metadata().at("decisions");
  EXPECT_EQ(files[1].metadata().at("decisions"), decided);
  EXPECT_NE(decided.find("\"call\":20"), std::string::npos) << decided;
  EXPECT_NE(decided.find("predicted a step of"), std::string::npos) << decided;
  EXPECT_NE(decided.find("\"value\":\"a="), std::string::npos) << decided;
  for (const char* name : {"a@20", "b@20"})
    EXPECT_TRUE(at::equal(tensor_of(files[0], name), tensor_of(files[1], name)));
}

TEST(LabExchange, NamesTheTensorThatIsMissing) {
  try {
    Lab().run(kOnebit, {{{"x@0", at::zeros({3})}, {"x@2", at::zeros({3})}}});
    ADD_FAILURE() << "a missing call went unnoticed";
  } catch (const std::runtime_error& error) {
    EXPECT_NE(std::string(error.what()).find("x@1"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace terse::testing
