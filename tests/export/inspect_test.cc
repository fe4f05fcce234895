// What `terse inspect` says of a matrix of codes, in every format that holds codes.
#include "export/inspect.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"
#include "export/archive.h"
#include "export/formats.h"
#include "tests/export/sample_artifact.h"
#include "tests/export/test_files.h"
#include "tests/support/test_name.h"

namespace terse {
namespace {

constexpr const char* kUp = "model.layers.0.mlp.up_proj.weight";
constexpr int64_t kRows = 512, kColumns = 256;  // of kUp

// A code stands in the file as multiply code + add.
struct Case {
  const char* format;
  const char* weights;
  const char* type;  // as inspect names it
  double bits;       // a weight; 0: entropy-coded, whatever the file takes
  const char* pattern = "";
  int multiply = 1, add = 0;
};

Artifact model(const Case& c) {
  SampleOptions options;
  options.shape = tiny_shape(kColumns, 300);
  options.shape.hidden = kRows;
  options.weights = c.weights;
  options.pattern = c.pattern;
  return sample_artifact(options);
}

std::map<int, int64_t> counted(const Case& c, const Codes& codes) {
  std::map<int, int64_t> counts;
  for (size_t i = 0; i < codes.codes.size(); ++i) {
    const size_t column = i % kColumns, row = i / kColumns;
    const bool kept = codes.mask.empty() ||
                      (codes.mask[row * (kColumns / 8) + column / 8] >> (column % 8) & 1) != 0;
    ++counts[kept ? codes.codes[i] * c.multiply + c.add : 0];
  }
  return counts;
}

class Inspects : public ::testing::TestWithParam<Case> {};

TEST_P(Inspects, HistogramAndBitsOfAMatrixAndParametersOfAll) {
  const TestFolder folder;
  const Case& c = GetParam();
  const Artifact artifact = model(c);
  const std::string path = folder / "out";
  export_artifact(FileSystem::real(), artifact, resolve_format(c.format), path);
  const Inspection in = inspect_file(path);
  EXPECT_EQ(in.checksums, "ok");
  int64_t parameters = 0;
  for (const ArtifactWeight& weight : artifact.weights)
    parameters += weight.shape.size() == 1 ? weight.shape[0] : weight.shape[0] * weight.shape[1];
  EXPECT_EQ(in.parameters, parameters);
  const std::string name = std::string(c.format).starts_with("gguf") ? "blk.0.ffn_up.weight" : kUp;
  const auto found = std::ranges::find(in.tensors, name, &InspectTensor::name);
  ASSERT_NE(found, in.tensors.end());
  EXPECT_EQ(found->type, c.type);
  EXPECT_EQ(found->shape, (std::vector<int64_t>{kRows, kColumns}));
  EXPECT_EQ(found->histogram, counted(c, artifact.weight(kUp).codes()));
  if (c.bits > 0) {
    EXPECT_NEAR(found->bits_per_weight(), c.bits, 1e-12);
    return;
  }
  int64_t stored = 0;
  const ArchiveFile file(path);
  for (const ArchiveTensor& tensor : file.tensors())
    if (tensor.name.starts_with(kUp)) stored += static_cast<int64_t>(tensor.stored.size());
  EXPECT_EQ(found->bytes, stored);
}

// compressed-tensors stores the matrix' shape beside it, two numbers of 8 bytes.
constexpr double kShapeBits = 8.0 * 16 / (kRows * kColumns);

INSTANTIATE_TEST_SUITE_P(
    EveryFormat, Inspects,
    ::testing::Values(
        // docs/export.md's table, TQ2_0 and TQ1_0 with their further digits.
        Case{"gguf", "q8_0", "Q8_0", 8.5}, Case{"gguf", "q4_0", "Q4_0", 4.5},
        Case{"gguf", "q4_1", "Q4_1", 5}, Case{"gguf", "q2_0", "Q2_0", 2.25},
        Case{"gguf:tq2_0", "tq2_0", "TQ2_0", 2.0625}, Case{"gguf:tq1_0", "tq1_0", "TQ1_0", 1.6875},
        Case{"gguf", "q1_0", "Q1_0", 1.125, "", 2, 1}, Case{"gguf", "mxfp4", "MXFP4", 4.25},
        Case{"gguf", "nvfp4", "NVFP4", 4.5}, Case{"gguf", "q5_0", "Q5_0", 5.5},
        Case{"gguf:q5_0", "half_int3", "Q5_0", 5.5, "", 2, 1},
        // The bits of a code, and a scale in fp32 for each group.
        Case{"onnx", "q4_0", "INT4", 4 + 32.0 / 32}, Case{"onnx", "int2", "INT2", 2 + 32.0 / 64},
        Case{"onnx", "int8", "INT8", 8 + 32.0 / 32},
        Case{"onnx", "half_int3", "INT4", 4 + 32.0 / 32, "", 2, 1},
        Case{"onnx", "half_int3", "INT4", 4 + 32.0 / 32, "2:4", 2, 1},
        Case{"onnx:int8", "q4_0", "INT8", 8 + 32.0 / 32},
        Case{"onnx:int8", "mxfp4", "INT8", 8 + 32.0 / 32},
        // Scales in fp16.
        Case{"compressed-tensors", "int8", "INT8", 8 + 16.0 / 32 + kShapeBits},
        Case{"compressed-tensors", "int2", "INT2", 2 + 16.0 / 64 + kShapeBits},
        // Half of the codes, two bits of place for each, scales in fp16.
        Case{"nm", "q4_0", "INT4", 4 * 0.5 + 2 * 0.5 + 16.0 / 32, "2:4"},
        Case{"archive", "q4_0", "INT4*", 0}, Case{"archive", "half_int3", "INT3*", 0, "2:4"},
        Case{"archive", "nvfp4", "NVFP4*", 0}, Case{"archive", "q1_0", "INT1*", 0}),
    [](const auto& test) {
      const Case& c = test.param;
      return test_name(fmt::format("{} {} {}", c.format, c.weights, c.pattern));
    });

}  // namespace
}  // namespace terse
