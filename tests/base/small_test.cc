// Keys, checksums, state dictionaries, instruction sets.
#include <gtest/gtest.h>

#include "base/checksum.h"
#include "base/error.h"
#include "base/isa.h"
#include "base/keys.h"
#include "base/state.h"

namespace terse {
namespace {

std::span<const std::byte> bytes(std::string_view text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

TEST(Checksum, KnownValuesAndPieces) {
  // The empty input's XXH3-64, from the specification of xxHash.
  EXPECT_EQ(checksum_hex(checksum(bytes(""))), "2d06800538d394c2");
  const std::string text(100000, 'x');
  Checksum pieces;
  for (size_t i = 0; i < text.size(); i += 777) pieces.update(bytes(text.substr(i, 777)));
  EXPECT_EQ(pieces.value(), checksum(bytes(text)));
}

TEST(Keys, NearestChoice) {
  const std::vector<std::string> names = {"codec", "density", "timeout_s"};
  EXPECT_EQ(nearest("codek", names), "codec");
  EXPECT_EQ(nearest("densty", names), "density");
  EXPECT_EQ(nearest("zzzzzzzzzz", names), "");
}

TEST(State, RoundTripAndErrors) {
  MemoryState state;
  const std::vector<float> data = {1, 2, 3, 4, 5, 6};
  state.tensor(Scope::shared, "a/b", {DType::f32, {2, 3}, bytes_of(data.data(), 6)});
  state.value(Scope::shared, "n", int64_t{7});
  state.value(Scope::shared, "x", 0.1);
  state.value(Scope::own, "t", std::string("text"));
  EXPECT_EQ(state.require(Scope::shared, "a/b", DType::f32, {2, 3}).as<float>()[5], 6.0f);
  EXPECT_EQ(state.require_integer(Scope::shared, "n"), 7);
  EXPECT_EQ(state.require_number(Scope::shared, "x"), 0.1);
  EXPECT_EQ(state.require_text(Scope::own, "t"), "text");
  EXPECT_THROW((void)state.require(Scope::shared, "missing", DType::f32, {1}), Error);
  EXPECT_THROW((void)state.require(Scope::shared, "a/b", DType::f32, {3, 2}), Error);
  EXPECT_THROW((void)state.require(Scope::shared, "a/b", DType::bf16, {2, 3}), Error);
  EXPECT_THROW((void)state.require_integer(Scope::shared, "x"), Error);
}

TEST(DType, NamesRoundTrip) {
  for (DType type : {DType::f64, DType::f32, DType::f16, DType::bf16, DType::i64, DType::i32,
                     DType::i16, DType::i8, DType::u8, DType::boolean}) {
    DType parsed;
    ASSERT_TRUE(dtype_parse(dtype_name(type), parsed));
    EXPECT_EQ(parsed, type);
    EXPECT_GT(dtype_size(type), 0);
  }
  DType parsed;
  EXPECT_FALSE(dtype_parse("F8", parsed));
}

TEST(Isa, ScalarIsAlwaysThere) {
  EXPECT_TRUE(isa_supported(Isa::scalar));
  EXPECT_TRUE(isa_supported(isa()));
}

}  // namespace
}  // namespace terse
