#include "export/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <limits>

#include "base/half.h"
#include "export/gguf_pack.h"
#include "tests/export/test_files.h"

namespace terse {
namespace {

using ::testing::HasSubstr;

GgufMetadata every_type() {
  return {{"general.architecture", std::string("llama")},
          {"u8", uint8_t{255}},
          {"i8", int8_t{-128}},
          {"u16", uint16_t{65535}},
          {"i16", int16_t{-32768}},
          {"u32", uint32_t{7}},
          {"i32", int32_t{-7}},
          {"f32", 1.5f},
          {"bool", true},
          {"u64", uint64_t{1} << 63},
          {"i64", std::numeric_limits<int64_t>::min()},
          {"f64", 0.1},
          {"texts", GgufArray(std::vector<std::string>{"a", "", "\xe2\x96\x81 b"})},
          {"floats", GgufArray(std::vector<float>{0.5f, -1.0f})},
          {"flags", GgufArray(std::vector<bool>{true, false})},
          {"none", GgufArray(std::vector<int32_t>{})}};
}

struct Sample {
  std::vector<float> norm = {1.0f, 2.0f, 3.0f};
  std::vector<std::byte> blocks = std::vector<std::byte>(2 * 18, std::byte{0x5a});
  std::vector<GgufItem> items() const {
    return {{"norm", {3}, GgufType::f32, source_of({DType::f32, {}, bytes_of(norm.data(), 3)})},
            {"w", {2, 32}, GgufType::q4_0, source_of({DType::u8, {}, std::span(blocks)})}};
  }
};

std::string sample_text(const TestFolder& folder) {
  write_gguf_file(FileSystem::real(), folder / "x", every_type(), Sample().items());
  return read_text(folder / "x");
}

GgufFile open(const std::string& text) {
  return GgufFile(bytes_of(text.data(), static_cast<int64_t>(text.size())), "F");
}

TEST(Gguf, RoundTrip) {
  const TestFolder folder;
  sample_text(folder);
  const GgufFile file(folder / "x");
  const GgufMetadata expected = every_type();
  ASSERT_EQ(file.metadata().size(), expected.size() + 1);
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_EQ(file.metadata()[i], expected[i]);
  ASSERT_EQ(file.tensors().size(), 2u);
  EXPECT_EQ(file.find("w")->shape, (std::vector<int64_t>{2, 32}));
  EXPECT_EQ(file.find("w")->type, 2u);
  std::vector<float> norm(3);
  gguf_decode(*file.find("norm"), norm.data());
  EXPECT_EQ(norm, Sample().norm);
  file.verify_checksums();
  EXPECT_EQ(file.integer("i8"), -128);
  EXPECT_EQ(file.integer("missing", 3), 3);
  EXPECT_EQ(file.number("f32"), 1.5);
  EXPECT_TRUE(file.flag("bool"));
  EXPECT_EQ(file.text("general.architecture"), "llama");
  EXPECT_THROW(file.integer("missing"), Error);
  EXPECT_THROW(file.integer("u64"), Error);  // does not fit
  EXPECT_THROW(file.integer("f32"), Error);
  EXPECT_THROW(file.array<float>("texts"), Error);
  EXPECT_EQ(file.array<float>("missing"), nullptr);
}

TEST(Gguf, EverySingleByteFlipIsDetectedOrHarmless) {
  const TestFolder folder;
  const std::string original = sample_text(folder);
  const GgufFile truth = open(original);
  std::string text = original;
  for (size_t i = 0; i < text.size(); ++i)
    for (const int mask : {1, 0x20, 0x80, 0xff}) {
      text[i] = static_cast<char>(text[i] ^ mask);
      try {
        const GgufFile file = open(text);
        file.verify_checksums(false);
        ASSERT_EQ(file.tensors().size(), truth.tensors().size()) << "byte " << i;
        for (size_t t = 0; t < truth.tensors().size(); ++t) {
          const GgufTensor &a = truth.tensors()[t], &b = file.tensors()[t];
          // Once the key "terse.checksums" itself is renamed, nothing else may differ.
          ASSERT_EQ(a.name, b.name) << "byte " << i;
          ASSERT_EQ(a.type, b.type);
          ASSERT_EQ(a.shape, b.shape);
          ASSERT_TRUE(std::equal(a.data.begin(), a.data.end(), b.data.begin(), b.data.end()));
        }
      } catch (const Error&) {  // refused: as good
      }
      text[i] = original[i];
    }
}

TEST(Gguf, EveryTruncationIsAnError) {
  const TestFolder folder;
  const std::string text = sample_text(folder);
  for (size_t n = 0; n < text.size(); ++n) {
    // The padding behind the last tensor carries nothing.
    if (n + 32 > text.size() && n >= text.size() - (64 - 36)) continue;
    EXPECT_THROW(open(text.substr(0, n)), Error) << n;
  }
  EXPECT_THROW(open(text + "x"), Error);
}

// A header made by hand, so that each field can be wrong.
struct Builder {
  std::string text = "GGUF";
  template <typename T>
  Builder& put(T value) {
    text.append(reinterpret_cast<const char*>(&value), sizeof value);
    return *this;
  }
  Builder& name(const std::string& s) {
    put(uint64_t{s.size()});
    text += s;
    return *this;
  }
  Builder& begin(uint64_t tensors, uint64_t keys, uint32_t version = 3) {
    return put(version).put(tensors).put(keys);
  }
  Builder& tensor(const std::string& n, const std::vector<uint64_t>& dims, uint32_t type,
                  uint64_t offset) {
    name(n).put(static_cast<uint32_t>(dims.size()));
    for (const uint64_t d : dims) put(d);
    return put(type).put(offset);
  }
  Builder& data(size_t bytes) {
    text.resize((text.size() + 31) / 32 * 32 + bytes);
    return *this;
  }
};

TEST(Gguf, HostileFilesNameFileAndTensor) {
  constexpr uint64_t kHuge = std::numeric_limits<uint64_t>::max();
  const struct {
    Builder builder;
    const char* message;
  } cases[] = {
      {Builder(), "not a GGUF"},
      {Builder{"GGUX"}.begin(0, 0), "not a GGUF"},
      {Builder().begin(0, 0, 2), "version 2"},
      {Builder().begin(0, 0, 0x03000000), "version"},
      {Builder().begin(kHuge, 0), "asks for more"},
      {Builder().begin(0, kHuge), "asks for more"},
      {Builder().begin(0, uint64_t{1} << 60), "asks for more"},
      {Builder().begin(0, 1).put(kHuge).data(64), "asks for more"},
      {Builder().begin(0, 1).name("k").put(uint32_t{13}).put(uint64_t{0}), "type 13 is not known"},
      {Builder().begin(0, 1).name("k").put(uint32_t{7}).put(uint8_t{2}), "neither 0 nor 1"},
      {Builder().begin(0, 1).name("k").put(uint32_t{8}).put(kHuge), "asks for more"},
      {Builder().begin(0, 1).name("k").put(uint32_t{9}).put(uint32_t{4}).put(kHuge),
       "asks for more"},
      {Builder().begin(0, 1).name("k").put(uint32_t{9}).put(uint32_t{8}).put(kHuge / 8),
       "asks for more"},
      {Builder().begin(0, 1).name("k").put(uint32_t{9}).put(uint32_t{9}).put(uint64_t{0}),
       "cannot hold type 9"},
      {Builder()
           .begin(0, 2)
           .name("k")
           .put(uint32_t{0})
           .put(uint8_t{0})
           .name("k")
           .put(uint32_t{0})
           .put(uint8_t{0}),
       "\"k\" appears twice"},
      {Builder().begin(0, 1).name("general.alignment").put(uint32_t{4}).put(uint32_t{0}),
       "power of two"},
      {Builder().begin(0, 1).name("general.alignment").put(uint32_t{4}).put(uint32_t{33}),
       "power of two"},
      {Builder().begin(1, 0).tensor("t", {1, 1, 1, 1, 1}, 0, 0), "5 dimensions"},
      {Builder().begin(1, 0).tensor("t", {4}, 4, 0).data(64), "\"t\" has the unknown type 4"},
      {Builder().begin(1, 0).tensor("t", {1ull << 62, 4}, 0, 0).data(64), "overflows"},
      {Builder().begin(1, 0).tensor("t", {kHuge}, 0, 0).data(64), "overflows"},
      {Builder().begin(1, 0).tensor("t", {1ull << 62}, 0, 0).data(64), "cannot have type F32"},
      {Builder().begin(1, 0).tensor("t", {33}, 2, 0).data(64), "cannot have type Q4_0"},
      {Builder().begin(1, 0).tensor("t", {4}, 0, 32).data(64), "lies at offset 32"},
      {Builder().begin(1, 0).tensor("t", {16}, 0, 0).data(63), "beyond the file"},
      {Builder().begin(2, 0).tensor("t", {8}, 0, 0).tensor("u", {8}, 0, 16).data(64),
       "\"u\" lies at offset 16"},
      {Builder().begin(2, 0).tensor("t", {8}, 0, 0).tensor("t", {8}, 0, 32).data(64),
       "two tensors are named \"t\""},
      {Builder().begin(1, 0).tensor("t", {8}, 0, 0).data(65), "follow the last tensor"},
  };
  for (const auto& c : cases) {
    try {
      open(c.builder.text);
      ADD_FAILURE() << c.message;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ExitCode::invalid_file);
      EXPECT_THAT(e.what(), HasSubstr("F: "));
      EXPECT_THAT(e.what(), HasSubstr(c.message));
    }
  }
}

TEST(Gguf, WriterRefusesWhatReadersWould) {
  const TestFolder folder;
  const auto source = source_of({DType::u8, {}, Sample().blocks});
  const auto write = [&](const std::vector<GgufItem>& items) {
    write_gguf_file(FileSystem::real(), folder / "x", {}, items);
  };
  EXPECT_THROW(write({{"w", {2, 31}, GgufType::q4_0, source}}), Error);
  EXPECT_THROW(write({{std::string(64, 'n'), {2, 32}, GgufType::q4_0, source}}), Error);
  EXPECT_THROW(
      write({{"w", {2, 32}, GgufType::q4_0, source}, {"w", {2, 32}, GgufType::q4_0, source}}),
      Error);
  const ByteSource short_source = [](const ByteSink& sink) { sink(bytes_of("x", 1)); };
  EXPECT_THROW(write({{"w", {2, 32}, GgufType::q4_0, short_source}}), Error);
  EXPECT_TRUE(FileSystem::real().list(folder.path()).empty());
}

TEST(Gguf, AnyFailingCallLeavesNothing) {
  const TestFolder folder;
  expect_nothing_or_all(
      folder, "x",
      [&](FileSystem& fs) { write_gguf_file(fs, folder / "x", every_type(), Sample().items()); },
      [](const std::string& path) { GgufFile(path).verify_checksums(); });
}

// The tables of writer and reader are separate on purpose; here they are compared.
TEST(Gguf, WriterAndReaderAgreeOnTypes) {
  for (const GgufPacking& packing : gguf_packings()) {
    const GgufBlockInfo* info = gguf_block_info(static_cast<uint32_t>(packing.type));
    ASSERT_NE(info, nullptr);
    EXPECT_EQ(info->block, packing.block);
    EXPECT_EQ(info->bytes, packing.bytes);
    EXPECT_NE(info->decode, nullptr);
    EXPECT_EQ(info->split != nullptr, packing.pack != nullptr);
  }
  EXPECT_EQ(gguf_block_info(4), nullptr);
}

}  // namespace
}  // namespace terse
