// What layers do to their inputs, from training to files and back: a run, its archive, and a folder
// of compressed-tensors or ONNX where those can say it are evaluated with the same arithmetic.
#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include "export/compressed_tensors.h"
#include "export/formats.h"
#include "export/import.h"
#include "tests/trainer/run/small_session.h"
#include "trainer/logits_probe.h"
#include "trainer/snapshot.h"

namespace terse {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kDown = "model.layers.0.mlp.down_proj.weight";

struct Case {
  const char* name;
  const char* qat;
  const char* input;
  bool said;  // compressed-tensors has words for it
};

void PrintTo(const Case& c, std::ostream* out) {
  *out << c.name;
}

class Inputs : public SmallSession, public ::testing::WithParamInterface<Case> {
 protected:
  Artifact trained(const std::string& qat, double* loss) const {
    auto run = session(qat);
    for (int k = 0; k < 5; ++k) run->train_step();
    *loss = run->evaluate_now(0).loss;
    const QatOptions options = parse_recipe(small_recipe(qat), "test").qat;
    Artifact artifact = artifact_of(saved(*run), model_shape(), options, at::kBFloat16);
    artifact.act_bits = options.activation_bits();
    return artifact;
  }
  double loss_of(const Artifact& artifact, at::ScalarType type) const {
    const auto model = model_of(artifact, {.type = type});
    return evaluate_record(*model, *data_.validation(8), Group::single(), 0).loss;
  }
  Artifact through(const std::string& format, const Artifact& artifact) const {
    const std::string path = folder_ / format;
    export_artifact(FileSystem::real(), artifact, resolve_format(format), path);
    EXPECT_TRUE(verify_file(path, artifact).different.empty());
    return read_artifact(path);
  }
};

TEST_P(Inputs, AreWhatTheRunDidAndTheFileSays) {
  double loss = 0;
  const Artifact artifact = trained(GetParam().qat, &loss);
  const std::optional<InputFormat> input = artifact.weight(kDown).input;
  ASSERT_TRUE(input);
  EXPECT_THAT(to_string(*input), HasSubstr(GetParam().input));
  EXPECT_FALSE(artifact.weight("model.embed_tokens.weight").input);
  EXPECT_EQ(loss_of(artifact, at::kBFloat16), loss);

  const Artifact kept = through("archive", artifact);
  for (const ArtifactWeight& weight : artifact.weights)
    EXPECT_EQ(kept.weight(weight.name).input, weight.input) << weight.name;
  EXPECT_EQ(loss_of(kept, at::kBFloat16), loss);

  const Artifact served = through("compressed-tensors", artifact);
  EXPECT_EQ(served.act_bits, artifact.act_bits);
  EXPECT_EQ(served.weight(kDown).input, GetParam().said ? input : std::nullopt);
  EXPECT_EQ(served.rounds_inputs(), GetParam().said);
  const auto unrounded = Contains(HasSubstr("inputs unrounded"));
  if (GetParam().said) {
    EXPECT_THAT(compressed_tensors_warnings(artifact), Not(unrounded));
    EXPECT_EQ(loss_of(served, at::kFloat), loss_of(artifact, at::kFloat));
  } else {
    EXPECT_THAT(compressed_tensors_warnings(artifact), unrounded);
    EXPECT_NE(loss_of(served, at::kFloat), loss_of(artifact, at::kFloat));
  }
}

INSTANTIATE_TEST_SUITE_P(
    Targets, Inputs,
    ::testing::Values(
        Case{"w8a8", "[qat]\ntarget = \"compressed-tensors:w8a8\"\n", "int_signed b8 absmax", true},
        Case{"w4a4",
             "[qat]\ntarget = \"compressed-tensors:w4a4\"\ngroup = 32\nignore = [\"lm_head\"]\n",
             "int_signed b4 absmax", true},
        Case{"w4a4_hadamard", "[qat]\ntarget = \"compressed-tensors:w4a4-hadamard\"\ngroup = 32\n",
             "int_signed b4 absmax", true},
        Case{"nvfp4", "[qat]\ntarget = \"compressed-tensors:nvfp4\"\n", "nvfp4 b4 absmax global 8",
             true},
        Case{"mxfp4", "[qat]\ntarget = \"compressed-tensors:mxfp4\"\n", "mxfp4 b4 mx_round", true},
        Case{"blocks",
             "[qat]\ntarget = \"none\"\nact_bits = 4\nact_grid = \"nvfp4\"\n"
             "act_global_scale = 32\n",
             "nvfp4 b4 absmax global 32", false},
        Case{"static",
             "[qat]\ntarget = \"none\"\ngrid = \"int_signed\"\nweight_bits = 8\nact_bits = 8\n"
             "group = 0\nhadamard = 0\nestimator = \"lsq\"\n",
             "int_signed b8 at ", true},
        Case{"quest", "[qat]\ntarget = \"none\"\nact_bits = 4\nignore = [\"lm_head\"]\n",
             "half_int b4 rms", false},
        Case{"lsq", "[qat]\ntarget = \"none\"\nact_bits = 4\nestimator = \"lsq\"\n",
             "half_int b4 at ", false},
        Case{"bitnet", "[qat]\ntarget = \"none\"\nestimator = \"bitnet\"\n",
             "int_symmetric b8 absmax", false},
        Case{"dense", "[qat]\ntarget = \"none\"\nweight_bits = 16\nact_bits = 4\n",
             "half_int b4 rms", false}),
    [](const auto& test) { return std::string(test.param.name); });

class InputsInOnnx : public Inputs {};

TEST_P(InputsInOnnx, AreEvaluatedAsTheRunDid) {
  double loss = 0;
  const Artifact artifact = trained(GetParam().qat, &loss);
  const std::optional<InputFormat> input = artifact.weight(kDown).input;
  ASSERT_TRUE(input);
  EXPECT_THAT(to_string(*input), HasSubstr(GetParam().input));
  for (const char* format : {"onnx", "onnx:int8"}) {
    if (!artifact.weight(kDown).compressed() && std::string(format) == "onnx:int8") continue;
    const Artifact served = through(format, artifact);
    EXPECT_EQ(served.weight(kDown).input, GetParam().said ? input : std::nullopt);
    EXPECT_EQ(served.rounds_inputs(), GetParam().said);
    // Products of codes and of values add in another order.
    if (GetParam().said) {
      EXPECT_NEAR(loss_of(served, at::kFloat), loss_of(artifact, at::kFloat), 1e-4);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Targets, InputsInOnnx,
    ::testing::Values(
        Case{"int8", "[qat]\ntarget = \"onnx:int8\"\nact_bits = 8\n", "int_signed b8 absmax", true},
        Case{"static", "[qat]\ntarget = \"onnx:int8\"\nact_bits = 8\nestimator = \"lsq\"\n",
             "int_signed b8 at ", true},
        Case{"quest", "[qat]\ntarget = \"onnx:int4\"\nact_bits = 4\nact_grid = \"half_int\"\n",
             "half_int b4 rms", true},
        Case{"bitnet", "[qat]\ntarget = \"none\"\nestimator = \"bitnet\"\n",
             "int_symmetric b8 absmax", true},
        Case{"dense", "[qat]\ntarget = \"none\"\nweight_bits = 16\nact_bits = 4\n",
             "half_int b4 rms", true},
        Case{"fp4", "[qat]\ntarget = \"onnx:int4\"\nact_bits = 4\nact_grid = \"fp4\"\n",
             "fp4 b4 rms", false}),
    [](const auto& test) { return std::string(test.param.name); });

using InputsOfFiles = Inputs;

// Formats without a place for it are run, and compared with engines, without it.
TEST_F(InputsOfFiles, ProbesAnswerAsTheFileSays) {
  double loss = 0;
  const Artifact artifact = trained("[qat]\ntarget = \"compressed-tensors:w8a8\"\n", &loss);
  const auto probe = [&](const char* format) {
    return make_probe(as_stored(artifact, format_row(resolve_format(format))), data_);
  };
  const LogitsProbe rounded = probe("compressed-tensors"), plain = probe("hf");
  EXPECT_EQ(rounded.act_bits, 8);
  EXPECT_EQ(plain.act_bits, 16);
  EXPECT_NE(rounded.logits, plain.logits);
  EXPECT_EQ(rounded.logits, make_probe(through("compressed-tensors", artifact), data_).logits);
  EXPECT_EQ(plain.logits, make_probe(through("hf", artifact), data_).logits);
}

TEST_F(InputsOfFiles, PartsOfAProductMustAgree) {
  double loss = 0;
  Artifact artifact = trained("[qat]\ntarget = \"compressed-tensors:w8a8\"\n", &loss);
  for (ArtifactWeight& weight : artifact.weights)
    if (weight.name == "model.layers.0.self_attn.k_proj.weight") weight.input->scale = 0.5f;
  try {
    model_of(artifact, {});
    ADD_FAILURE();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ExitCode::invalid_file);
    EXPECT_THAT(e.what(), HasSubstr("model.layers.0.self_attn.qkv_proj"));
  }
}

}  // namespace
}  // namespace terse
