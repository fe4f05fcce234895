// Dense codecs against base/half.h, whose conversions are tested against the processor.
#include "comm/codec/dense_codec.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "base/error.h"
#include "base/half.h"
#include "comm/codec/dense_arrays.h"
#include "comm/codec/onebit.h"
#include "tests/comm/codec/buckets.h"

namespace terse::testing {
namespace {

TEST(DenseArrays, Bf16IsHalfHBitForBit) {
  // Every upper half with lower halves around the tie: all roundings, NaNs and infinities.
  std::vector<float> in;
  for (uint32_t high = 0; high < 65536; ++high)
    for (const uint32_t low : {0u, 1u, 0x7fffu, 0x8000u, 0x8001u, 0xffffu})
      in.push_back(std::bit_cast<float>(high << 16 | low));
  in.resize(in.size() - 3);  // not a multiple of a vector
  const auto n = static_cast<int64_t>(in.size());
  for (const Isa isa : supported()) {
    const WithIsa with(isa);
    std::vector<uint16_t> out(in.size() + 1);
    for (const int64_t shift : {0, 1}) {  // misaligned too
      to_bf16(in.data(), nullptr, n, out.data() + shift, nullptr);
      for (size_t i = 0; i < in.size(); ++i)
        ASSERT_EQ(out[i + static_cast<size_t>(shift)], bf16_from_float(in[i])) << i;
    }
    std::vector<float> back(in.size() + 1);
    from_bf16(out.data() + 1, n, back.data());
    for (size_t i = 0; i < in.size(); ++i)
      ASSERT_EQ(std::bit_cast<uint32_t>(back[i]),
                std::bit_cast<uint32_t>(bf16_to_float(out[i + 1])));
  }
}

TEST(DenseArrays, SumsInRankOrder) {
  // 1 + 2^-24 + 2^-24 is 1 from the left and more from the right: the order shows.
  const std::vector<float> a(20000, 1.0f), b(20000, 0x1p-24f), c(20000, 0x1p-24f);
  for (const Isa isa : supported()) {
    const WithIsa with(isa);
    std::vector<float> out(a.size());
    const auto row = [](const std::vector<float>& v) {
      return reinterpret_cast<const std::byte*>(v.data());
    };
    sum_rows(false, {row(a), row(b), row(c)}, 20000, 1.0f, out.data());
    EXPECT_EQ(out[19999], 1.0f);
    sum_rows(false, {row(b), row(c), row(a)}, 20000, 1.0f, out.data());
    EXPECT_EQ(out[19999], 1.0f + 0x1p-23f);
  }
}

TEST(DenseCodec, RoundTrips) {
  for (const int64_t n : {0, 1, 7, 8, 31, 32, 33, 1003, 20005})
    for (const int64_t parts : {1, 3}) {
      const Bucket bucket = make_bucket({n});
      const auto x = n == 1003 ? awkward(n) : values(n, 1);
      const std::vector<float> e = n == 1003 ? std::vector<float>(1003, 0.0f) : values(n, 2);
      std::vector<float> shadow(x.size(), 9.0f);
      for (const CodecId id : {CodecId::fp32, CodecId::bf16}) {
        auto bound = make_dense_codec(id)->bind(bucket, chunks(n, parts));
        Messages messages(*bound);
        bound->encode(kTag, {x.data(), e.data(), shadow.data(), nullptr}, messages.rooms,
                      messages.used);
        const auto out = decode(*bound, messages, kTag);
        for (size_t i = 0; i < x.size(); ++i) {
          const float sum = x[i] + e[i];
          const float expected = id == CodecId::fp32 ? sum : bf16_to_float(bf16_from_float(sum));
          ASSERT_EQ(out[i], expected) << i;
          ASSERT_EQ(shadow[i], id == CodecId::fp32 ? 0.0f : sum - expected) << i;
        }
      }
    }
}

TEST(DenseCodec, HasNoParameter) {
  const Bucket bucket = make_bucket({10});
  const double parameters[] = {4.0};
  for (const auto& codec : {make_dense_codec(CodecId::bf16), make_onebit_codec()}) try {
      codec->bind(bucket, {{0, 10}}, parameters);
      ADD_FAILURE() << codec->name();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::usage);
      EXPECT_NE(std::string(error.what()).find(codec->name()), std::string::npos);
    }
}

}  // namespace
}  // namespace terse::testing
