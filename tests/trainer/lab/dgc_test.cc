// `terse lab optimize --name dgc` against the official Deep Gradient Compression (golden file by
// tests/peers/dgc.py, which says what the two do differently on purpose).
#include <gtest/gtest.h>

#include "tests/comm/exchange/deepspeed.h"
#include "tests/trainer/lab/lab.h"

namespace terse::testing {
namespace {

std::vector<Tensors> inputs_of(const SafetensorsFile& golden) {
  std::vector<Tensors> inputs(2);
  for (const std::string& name : golden.names())
    for (size_t rank = 0; rank < 2; ++rank) {
      if (name.find('/') == std::string::npos)
        inputs[rank][name] = tensor_of(golden, name);
      else if (name.starts_with(fmt::format("{}/", rank)))
        inputs[rank][name.substr(2)] = tensor_of(golden, name);
    }
  return inputs;
}

// Momentum correction, selection, masking of velocity and accumulator, and the vectors that both
// send whole. No two magnitudes of the golden gradients tie.
TEST(LabDgc, AgreesWithTheOfficialImplementation) {
  const SafetensorsFile golden(TERSE_SOURCE_DIR "/tests/trainer/lab/golden/dgc.safetensors");
  for (const std::string variant : {"vanilla", "nesterov"}) {
    std::vector<std::string> words = {"optimize", "--name", "dgc"};
    for (const std::string& set :
         {std::string("lr=0.05"), std::string("momentum=0.9"), std::string("weight_decay=0"),
          std::string("ramp=0"), fmt::format("nesterov={}", variant == "nesterov"),
          std::string("exchange.codec=\"topk\""), std::string("exchange.density=0.05")})
      words.insert(words.end(), {"--set", set});
    const auto files = Lab().run(words, inputs_of(golden));
    int compared = 0;
    const auto compare = [&](size_t rank, const std::string& name, const std::string& theirs) {
      const at::Tensor ours = tensor_of(files[rank], name);
      const at::Tensor expected = tensor_of(golden, theirs);
      // Sums of twenty steps, rounded in another order: an ulp of values up to 50 each.
      EXPECT_TRUE(at::allclose(ours, expected, 2e-6, 2e-5))
          << theirs << " " << (ours - expected).abs().max().item<double>();
      ++compared;
    };
    for (const char* name : {"a.weight", "b.norm", "c.weight"}) {
      for (int step = 1; step <= 20; ++step)
        compare(0, fmt::format("{}@{}", name, step), fmt::format("{}/{}@{}", variant, name, step));
      if (std::string(name) == "b.norm") continue;  // theirs has the averaged velocity
      for (size_t rank = 0; rank < 2; ++rank)
        for (const char* state : {"u", "residual"})
          compare(rank, fmt::format("{}.{}", name, state),
                  fmt::format("{}/{}/{}.{}", variant, rank, name, state));
    }
    EXPECT_EQ(compared, 3 * 20 + 2 * 2 * 2);
  }
}

}  // namespace
}  // namespace terse::testing
