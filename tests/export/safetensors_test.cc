#include "export/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <numeric>

#include "base/error.h"
#include "tests/export/test_files.h"

namespace terse {
namespace {

using ::testing::HasSubstr;

std::string file_text(const std::string& json, size_t data_bytes) {
  const uint64_t length = json.size();
  std::string text(reinterpret_cast<const char*>(&length), sizeof length);
  return text + json + std::string(data_bytes, '\0');
}

std::string error_of(const std::string& text) {
  try {
    const SafetensorsFile file(bytes_of(text.data(), static_cast<int64_t>(text.size())), "F");
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ExitCode::invalid_file);
    return e.what();
  }
  return "";
}

std::string many_ones() {
  std::string text = "1";
  for (int i = 0; i < 1000; ++i) text += ",1";
  return text;
}

struct Sample {
  std::vector<float> a = {1.0f, -2.5f, 3.25f, 0.0f, 5.0f, -0.0f};
  std::vector<uint16_t> b = {0x3f80, 0x4000, 0x7fc0};
  std::vector<int8_t> c = {-8, 7, 0};
  std::map<std::string, TensorView> tensors() const {
    return {{"b", {DType::bf16, {3}, bytes_of(b.data(), 3)}},
            {"a.weight", {DType::f32, {2, 3}, bytes_of(a.data(), 6)}},
            {"c", {DType::i8, {3, 1}, bytes_of(c.data(), 3)}},
            {"empty", {DType::i64, {0, 4}, {}}},
            {"scalar", {DType::f32, {}, bytes_of(a.data() + 2, 1)}}};
  }
};

TEST(Safetensors, RoundTrip) {
  const TestFolder folder;
  const Sample sample;
  const std::string path = folder / "x.safetensors";
  write_safetensors(FileSystem::real(), path, sample.tensors(), {{"method", "\"quest\" é\n"}});
  const SafetensorsFile file(path);
  EXPECT_EQ(file.metadata().at("method"), "\"quest\" é\n");
  EXPECT_EQ(file.names(), (std::vector<std::string>{"empty", "a.weight", "scalar", "b", "c"}));
  for (const auto& [name, view] : sample.tensors()) {
    const TensorView read = file.require(name, view.dtype, view.shape);
    EXPECT_TRUE(std::equal(read.data.begin(), read.data.end(), view.data.begin(), view.data.end()))
        << name;
  }
  file.verify_checksums();
  EXPECT_FALSE(file.find("d").has_value());
  EXPECT_THROW(file.require("d"), Error);
  EXPECT_THROW(file.require("c", DType::u8, {3, 1}), Error);
  EXPECT_THROW(file.require("c", DType::i8, {3}), Error);
}

TEST(Safetensors, SameBytesWhateverTheOrder) {
  const TestFolder folder;
  const Sample sample;
  std::vector<SafetensorsItem> items;
  for (const auto& [name, view] : sample.tensors())
    items.insert(items.begin(), {name, view.dtype, view.shape, source_of(view)});
  write_safetensors(FileSystem::real(), folder / "1", items);
  write_safetensors(FileSystem::real(), folder / "2", sample.tensors());
  EXPECT_EQ(read_text(folder / "1"), read_text(folder / "2"));
}

TEST(Safetensors, DataIsAligned) {
  const TestFolder folder;
  write_safetensors(FileSystem::real(), folder / "x", Sample().tensors());
  const std::string text = read_text(folder / "x");
  uint64_t header = 0;
  std::memcpy(&header, text.data(), sizeof header);
  EXPECT_EQ(header % 8, 0u);
  EXPECT_EQ(text[8], '{');
}

TEST(Safetensors, HostileFilesNameFileAndTensor) {
  const struct {
    const char* what;
    std::string text;
    const char* message;
  } cases[] = {
      {"empty file", "", "too few"},
      {"7 bytes", "1234567", "too few"},
      {"giant header", std::string("\xff\xff\xff\xff\xff\xff\xff\xff{}", 10), "claims"},
      {"header beyond the limit", std::string("\x00\xe1\xf5\x05\x01\x00\x00\x00{}", 10), "claims"},
      {"truncated header", file_text("{}", 0).substr(0, 9), "claims"},
      {"no JSON", file_text("hello", 0), "not valid JSON"},
      {"empty header", file_text("", 0), "not valid JSON"},
      {"cut JSON", file_text(R"({"a":{"dtype":"F32")", 0), "not valid JSON"},
      {"two values", file_text("{}{}", 0), "not valid JSON"},
      {"no UTF-8", file_text("{\"\xff\":1}", 0), "not valid JSON"},
      {"a list", file_text("[]", 0), "a list cannot"},
      {"a number", file_text("7", 0), "such a number"},
      {"deep", file_text(std::string(100000, '['), 0), "cannot stand here"},
      {"deep objects", file_text(R"({"a":{"dtype":{}}})", 0), "an object cannot"},
      {"a text as tensor", file_text(R"({"a":"F32"})", 0), "a text cannot"},
      {"metadata is a text", file_text(R"({"__metadata__":"x"})", 0), "a text cannot"},
      {"metadata number", file_text(R"({"__metadata__":{"x":1}})", 0), "cannot stand here"},
      {"metadata twice", file_text(R"({"__metadata__":{},"__metadata__":{}})", 0), "twice"},
      {"metadata key twice", file_text(R"({"__metadata__":{"x":"1","x":"2"}})", 0), "twice"},
      {"missing key", file_text(R"({"a":{"dtype":"F32","shape":[1]}})", 4), "needs"},
      {"extra key",
       file_text(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":[1]}})", 4),
       "unknown key \"x\""},
      {"key twice",
       file_text(R"({"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4),
       "twice"},
      {"unknown dtype", file_text(R"({"a":{"dtype":"F33","shape":[1],"data_offsets":[0,4]}})", 4),
       "\"F33\" is not known"},
      {"dtype is a number", file_text(R"({"a":{"dtype":3,"shape":[1],"data_offsets":[0,4]}})", 4),
       "such a number"},
      {"negative", file_text(R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4),
       "a negative number"},
      {"fraction", file_text(R"({"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}})", 4),
       "a fraction"},
      {"null", file_text(R"({"a":null})", 4), "null"},
      {"three offsets", file_text(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,4]}})", 4),
       "two numbers"},
      {"beyond the end", file_text(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 4),
       "lies at bytes"},
      {"backwards", file_text(R"({"a":{"dtype":"F32","shape":[0],"data_offsets":[4,0]}})", 4),
       "lies at bytes"},
      {"2^64",
       file_text(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,18446744073709551615]}})", 4),
       "such a number"},
      {"shape overflows",
       file_text(R"({"a":{"dtype":"F32","shape":[4611686018427387905,4],"data_offsets":[0,4]}})",
                 4),
       "overflows"},
      {"shape against bytes",
       file_text(R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,4]}})", 4), "needs 12 bytes"},
      {"hole before the first",
       file_text(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})", 2), "hole"},
      {"hole between",
       file_text(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                 R"("b":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}})",
                 3),
       "tensor \"b\" starts at byte 2"},
      {"overlap",
       file_text(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
                 R"("b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})",
                 3),
       "overlaps"},
      {"same name twice",
       file_text(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                 R"("a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
                 2),
       "two tensors are named \"a\""},
      {"bytes left over", file_text(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 2),
       "the tensors take 1"},
      {"many dimensions", file_text(R"({"a":{"dtype":"U8","shape":[)" + many_ones() + "]}}", 1),
       "more than 32"},
  };
  for (const auto& c : cases) {
    const std::string error = error_of(c.text);
    EXPECT_THAT(error, HasSubstr("F: ")) << c.what;
    EXPECT_THAT(error, HasSubstr(c.message)) << c.what;
  }
}

TEST(Safetensors, ForeignFilesMayBeMisaligned) {
  const std::string text = file_text(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                                     R"("b":{"dtype":"F32","shape":[1],"data_offsets":[1,5]}})",
                                     1) +
                           std::string("\x00\x00\x80\x3f", 4);
  const SafetensorsFile file(bytes_of(text.data(), static_cast<int64_t>(text.size())), "F");
  EXPECT_EQ(file.require("b").as<float>()[0], 1.0f);
  EXPECT_FALSE(file.has_checksums());
  file.verify_checksums(false);
  EXPECT_THROW(file.verify_checksums(), Error);
}

// Whatever one byte becomes: an error, or the same tensors under the same names.
TEST(Safetensors, EverySingleByteFlipIsDetectedOrHarmless) {
  const TestFolder folder;
  write_safetensors(FileSystem::real(), folder / "x", Sample().tensors(), {{"k", "v"}});
  std::string text = read_text(folder / "x");
  const std::string original = text;
  const auto open = [](const std::string& t) {
    return SafetensorsFile(bytes_of(t.data(), static_cast<int64_t>(t.size())), "F");
  };
  const SafetensorsFile truth = open(original);
  int harmless = 0;
  for (size_t i = 0; i < text.size(); ++i)
    for (const int mask : {1, 0x20, 0x80, 0xff}) {
      text[i] = static_cast<char>(text[i] ^ mask);
      try {
        const SafetensorsFile file = open(text);
        file.verify_checksums(false);
        ++harmless;
        ASSERT_EQ(file.names(), truth.names()) << "byte " << i;
        for (const auto& name : file.names()) {
          const TensorView a = *truth.find(name), b = *file.find(name);
          ASSERT_EQ(a.dtype, b.dtype);
          ASSERT_EQ(a.shape, b.shape);
          ASSERT_TRUE(std::equal(a.data.begin(), a.data.end(), b.data.begin(), b.data.end()));
        }
      } catch (const Error&) {
        // Refused: what nearly all of them must be.
      }
      text[i] = original[i];
    }
  EXPECT_LT(harmless, 60);  // only within the words "__metadata__" and "terse.checksums"
}

TEST(Safetensors, WriterRefusesWhatReadersWould) {
  const TestFolder folder;
  const auto source = source_of({DType::u8, {1}, bytes_of("x", 1)});
  const auto write = [&](std::vector<SafetensorsItem> items, Metadata metadata = {}) {
    write_safetensors(FileSystem::real(), folder / "x", std::move(items), std::move(metadata));
  };
  EXPECT_THROW(write({{"a", DType::u8, {1}, source}, {"a", DType::u8, {1}, source}}), Error);
  EXPECT_THROW(write({{"a", DType::u8, {2}, source}}), Error);
  EXPECT_THROW(write({{"__metadata__", DType::u8, {1}, source}}), Error);
  EXPECT_THROW(write({{"\xff", DType::u8, {1}, source}}), Error);
  EXPECT_THROW(write({}, {{"\xff", ""}}), Error);
  EXPECT_TRUE(FileSystem::real().list(folder.path()).empty());
}

// Making a tensor may cost more than writing it.
TEST(Safetensors, SourcesAreAskedOnce) {
  const TestFolder folder;
  char calls = 0;
  const ByteSource source = [&](const ByteSink& sink) {
    ++calls;
    sink(bytes_of(&calls, 1));
  };
  write_safetensors(FileSystem::real(), folder / "x", {{"a", DType::u8, {1}, source}});
  EXPECT_EQ(calls, 1);
  const SafetensorsFile file(folder / "x");
  EXPECT_NO_THROW(file.verify_checksums());
  EXPECT_EQ(file.require("a").as<char>()[0], 1);
}

TEST(Safetensors, AnyFailingCallLeavesNothing) {
  const TestFolder folder;
  expect_nothing_or_all(
      folder, "x", [&](FileSystem& fs) { write_safetensors(fs, folder / "x", Sample().tensors()); },
      [](const std::string& path) { SafetensorsFile(path).verify_checksums(); });
}

}  // namespace
}  // namespace terse
