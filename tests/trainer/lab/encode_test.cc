// `terse lab encode` as a program, against Q4_0 as ggml defines it, computed here by LibTorch.
#include <gtest/gtest.h>

#include "tests/comm/exchange/deepspeed.h"
#include "tests/trainer/lab/lab.h"

namespace terse::testing {
namespace {

at::Tensor bytes_of_tensor(const SafetensorsFile& file, const std::string& name, DType type) {
  const TensorView view = file.require(name);
  EXPECT_EQ(view.dtype, type) << name;
  at::Tensor out = at::empty(view.shape, type == DType::i8 ? at::kChar : at::kByte);
  std::memcpy(out.mutable_data_ptr(), view.data.data(), view.data.size());
  return out;
}

// Blocks of 32: d = m / -8 with m the first value of largest magnitude, stored as fp16; code =
// min(15, trunc(x / d + 8.5)) - 8 by the inverse of the unrounded d.
TEST(LabEncode, TheProgramWritesGgmlsBlocks) {
  at::manual_seed(9);
  const at::Tensor weight = at::randn({6, 128});
  const auto files = Lab().run({"encode", "--target", "gguf:q4_0"}, {{{"w", weight}}});
  const SafetensorsFile& file = files.at(0);

  const at::Tensor blocks = weight.view({-1, 32});
  const at::Tensor most = blocks.gather(1, blocks.abs().argmax(1, true));
  const at::Tensor d = most / -8;
  const at::Tensor codes = (blocks * d.reciprocal() + 8.5).trunc().clamp_max(15) - 8;
  const at::Tensor scales = d.to(at::kHalf).to(at::kFloat);
  EXPECT_TRUE(
      at::equal(bytes_of_tensor(file, "w.codes", DType::i8).view({-1, 32}), codes.to(at::kChar)));
  EXPECT_TRUE(at::equal(tensor_of(file, "w.scales").view({-1, 1}), scales));
  EXPECT_TRUE(at::equal(tensor_of(file, "w.decoded").view({-1, 32}), codes * scales));
  EXPECT_EQ(file.metadata().at("offset"), "0");
  EXPECT_EQ(file.metadata().at("hadamard"), "0");
  const at::Tensor trust = bytes_of_tensor(file, "w.trust", DType::u8);
  EXPECT_EQ(trust.sizes(), weight.sizes());
}

TEST(LabEncode, TheProgramTakesAnEstimatorAndNamesWhatIsWrong) {
  const at::Tensor weight = at::full({2, 128}, 0.25f);
  // Each rank has files of its own.
  const auto files = Lab().run({"encode", "--target", "none", "--estimator", "straight_through"},
                               {{{"w", weight}}, {{"w", weight * 2}}});
  EXPECT_EQ(files.at(0).metadata().at("estimator"), "straight_through");
  EXPECT_TRUE(bytes_of_tensor(files.at(0), "w.trust", DType::u8).eq(1).all().item<bool>());
  EXPECT_EQ(files.at(0).metadata().at("hadamard"), "128");
  EXPECT_FALSE(at::equal(tensor_of(files.at(0), "w.scales"), tensor_of(files.at(1), "w.scales")));
  try {
    Lab().run({"encode", "--target", "gguf:q3"}, {{{"w", weight}}});
    ADD_FAILURE() << "no such target";
  } catch (const std::runtime_error& error) {
    EXPECT_NE(std::string(error.what()).find("code 2"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("q3"), std::string::npos) << error.what();
  }
}

// LSQ's first step, one for the tensor: 2 mean |z| / sqrt(7), and what it makes of the values.
TEST(LabEncode, TheProgramStartsLsq) {
  at::manual_seed(10);
  const at::Tensor weight = at::randn({6, 64});
  const auto files = Lab().run({"encode", "--target", "none", "--estimator", "lsq", "--set",
                                "grid=int_signed", "--set", "hadamard=0"},
                               {{{"w", weight}}});
  const SafetensorsFile& file = files.at(0);
  const at::Tensor scale = tensor_of(file, "w.scales");
  ASSERT_EQ(scale.sizes(), (std::vector<int64_t>{1, 1}));
  const double expected = 2 * weight.to(at::kDouble).abs().mean().item<double>() / std::sqrt(7.0);
  EXPECT_NEAR(scale.item<double>() / expected, 1.0, 1e-6);
  const at::Tensor place = weight / scale;
  const at::Tensor codes = place.round().clamp(-8, 7);
  EXPECT_TRUE(at::equal(bytes_of_tensor(file, "w.codes", DType::i8), codes.to(at::kChar)));
  EXPECT_TRUE(at::equal(tensor_of(file, "w.decoded"), codes * scale));
  EXPECT_TRUE(at::equal(bytes_of_tensor(file, "w.trust", DType::u8),
                        ((place >= -8) * (place <= 7)).to(at::kByte)));
  EXPECT_EQ(file.metadata().at("estimator"), "lsq");
}

}  // namespace
}  // namespace terse::testing
