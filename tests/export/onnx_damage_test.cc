// Every file of an ONNX folder with one bit flipped, byte by byte.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "export/formats.h"
#include "export/import.h"
#include "export/llama_onnx.h"
#include "tests/export/sample_artifact.h"
#include "tests/export/test_files.h"
#include "tests/support/test_name.h"

namespace terse {
namespace {

using ::testing::IsEmpty;

struct Kind {
  const char* name;
  int64_t bits;
};

class OnnxDamage : public ::testing::TestWithParam<Kind> {
 protected:
  OnnxDamage() {
    SampleOptions options;
    options.weights = GetParam().name;
    options.shape = tiny_shape(64);
    options.tokenizer = false;
    artifact_ = sample_artifact(options);
    // No limit: what takes a kilobyte stands in a file of its own.
    write_llama_onnx(FileSystem::real(), artifact_, "", path_, 0);
  }

  std::string file(const char* name) const { return fmt::format("{}/{}", path_, name); }

  // Whether the damage is seen; if not, nothing of the model may have changed.
  bool seen() const {
    try {
      EXPECT_THAT(verify_file(path_, artifact_).different, IsEmpty());
      const Artifact read = read_artifact(path_);
      EXPECT_EQ(read.shape, artifact_.shape);
      for (const auto& [key, value] : artifact_.metadata) EXPECT_EQ(read.metadata.at(key), value);
      return false;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ExitCode::invalid_file);
      return true;
    }
  }

  // Of the codes in model.onnx.data.
  size_t outside_bytes() const {
    int64_t bytes = 0;
    for (const ArtifactWeight& weight : artifact_.weights) {
      const int64_t own =
          weight.compressed() ? weight.shape[0] * weight.shape[1] * GetParam().bits / 8 : 0;
      bytes += own >= 1024 ? own : 0;
    }
    return static_cast<size_t>(bytes);
  }

  struct Flips {
    size_t bytes = 0, seen = 0;
  };

  // One in each byte.
  Flips flip_all(const char* name) const {
    const std::string text = read_text(file(name));
    // In its place: a file written anew for each byte waits for the disk.
    std::fstream opened(file(name), std::ios::in | std::ios::out | std::ios::binary);
    const auto put = [&](size_t at, char byte) {
      opened.seekp(static_cast<std::streamoff>(at)).put(byte).flush();
      ASSERT_TRUE(opened.good());
    };
    Flips flips{.bytes = text.size()};
    for (size_t at = 0; at < text.size() && !HasFailure(); ++at) {
      SCOPED_TRACE(fmt::format("{} byte {}", name, at));
      put(at, static_cast<char>(text[at] ^ 1 << (at % 8)));
      flips.seen += seen() ? 1 : 0;
      put(at, text[at]);
    }
    return flips;
  }

 private:
  TestFolder folder_;
  std::string path_ = folder_ / "out";
  Artifact artifact_;
};

TEST_P(OnnxDamage, EverySingleByteFlipIsDetectedOrHarmlessSlow) {
  const Flips data = flip_all("model.onnx.data");
  EXPECT_EQ(data.seen, outside_bytes());  // the rest is padding
  const Flips model = flip_all("model.onnx");
  // But in the name of the entry with the checksums, 15 letters, and its tag: then there are none.
  EXPECT_LE(model.bytes - model.seen, 16u);
  // Of ONNX Runtime GenAI alone; what terse reads stands in the model.
  EXPECT_EQ(flip_all("genai_config.json").seen, 0u);
  EXPECT_FALSE(seen());
}

INSTANTIATE_TEST_SUITE_P(Models, OnnxDamage, ::testing::Values(Kind{"q4_0", 4}, Kind{"int2", 2}),
                         [](const auto& test) { return test_name(test.param.name); });

}  // namespace
}  // namespace terse
