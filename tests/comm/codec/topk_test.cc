// The top-k codec against sorting everything, and its bytes against docs/protocol.md.
#include "comm/codec/topk.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <cstring>

#include "base/error.h"
#include "base/half.h"
#include "tests/comm/codec/buckets.h"
#include "tests/comm/codec/largest.h"

namespace terse::testing {
namespace {

Result run(const Bucket& bucket, int64_t parts, const TopKOptions& options,
           std::span<const double> densities, const std::vector<float>& message,
           const std::vector<float>& residual, const uint64_t* live = nullptr) {
  const Result result = testing::run(*make_topk_codec(options), bucket, parts, message, residual,
                                     live, {densities.begin(), densities.end()});
  for (const auto& bytes : result.messages) EXPECT_EQ(bytes.size() % 8, 0u);
  return result;
}

int64_t count(double density, int64_t n) {
  return std::max<int64_t>(1, static_cast<int64_t>(std::ceil(density * static_cast<double>(n))));
}

// What the codec promises, from its documentation.
void check(const Bucket& bucket, int64_t parts, const TopKOptions& options,
           const std::vector<double>& densities, const std::vector<float>& message,
           const std::vector<float>& residual, const uint64_t* live = nullptr) {
  const Result got = run(bucket, parts, options, densities, message, residual, live);
  std::vector<float> x(message.size());
  for (size_t i = 0; i < x.size(); ++i)
    x[i] = is_live(live, static_cast<int64_t>(i)) ? message[i] + residual[i] : 0;
  std::vector<bool> sent(x.size());
  std::vector<int64_t> selected;
  for (size_t s = 0; s < bucket.segments.size(); ++s) {
    const Range range{bucket.segments[s].offset,
                      bucket.segments[s].offset + bucket.segments[s].size};
    int64_t n = 0;
    for (int64_t i = range.begin; i < range.end; ++i) n += is_live(live, i) ? 1 : 0;
    if (densities[s] == 1) {
      for (int64_t i = range.begin; i < range.end; ++i) sent[static_cast<size_t>(i)] = true;
    } else if (range.size() > 0) {
      for (const int64_t i : largest(x, range, count(densities[s], n))) {
        sent[static_cast<size_t>(i)] = true;
        selected.push_back(i);
      }
    }
  }
  ASSERT_EQ(got.selected, selected);
  for (size_t i = 0; i < x.size(); ++i) {
    const float q = options.bf16_values ? bf16_to_float(bf16_from_float(x[i])) : x[i];
    ASSERT_EQ(got.decoded[i], sent[i] ? q : 0) << i;
    ASSERT_EQ(got.shadow[i], sent[i] ? x[i] - q : x[i]) << i;
  }
}

TEST(TopK, SendsTheLargestOfEverySegment) {
  for (const Isa isa : supported()) {
    const WithIsa with(isa);
    for (const auto& sizes : kShapes)
      for (const int64_t parts : {1, 2, 3, 7})
        for (const bool bf16 : {false, true})
          for (const double density : {0.001, 0.1, 0.6, 1.0}) {
            SCOPED_TRACE(::testing::Message() << isa_name(isa) << " shape " << sizes.size()
                                              << " parts " << parts << " density " << density);
            const Bucket bucket = make_bucket(sizes);
            check(bucket, parts, {.bf16_values = bf16}, std::vector<double>(sizes.size(), density),
                  values(bucket.size, 1), values(bucket.size, 2));
            if (HasFatalFailure()) return;
          }
  }
}

TEST(TopK, DensitiesDifferBySegment) {
  const Bucket bucket = make_bucket({3000, 640, 70, 9001, 5});
  for (const int64_t parts : {1, 4})
    check(bucket, parts, {}, {0.01, 1, 0.5, 0.0001, 1}, values(bucket.size, 3),
          values(bucket.size, 4));
}

TEST(TopK, AwkwardNumbers) {
  const Bucket bucket = make_bucket({1003, 64});
  const std::vector<float> zero(static_cast<size_t>(bucket.size), 0.0f);
  for (const double density : {0.01, 0.5}) {
    check(bucket, 2, {}, {density, density}, awkward(bucket.size), zero);
    check(bucket, 2, {}, {density, density}, std::vector<float>(zero.size(), -1e-42f), zero);
    check(bucket, 2, {}, {density, density}, std::vector<float>(zero.size(), 3e38f), zero);
  }
}

TEST(TopK, EqualMagnitudesGoByLowestIndexAndZerosAreNeverSent) {
  const Bucket bucket = make_bucket({100, 100, 100});
  std::vector<float> x(300, 0.0f);
  for (size_t i = 0; i < 100; ++i) x[i] = i % 2 == 0 ? -1.0f : 1.0f;
  x[150] = -0.0f, x[199] = 1e-44f;
  const Result got =
      run(bucket, 1, {}, std::vector{0.05, 0.05, 0.05}, x, std::vector<float>(300, 0.0f));
  EXPECT_EQ(got.selected, (std::vector<int64_t>{0, 1, 2, 3, 4, 199}));
}

TEST(TopK, AZeroGradientSendsNoEntries) {
  const Bucket bucket = make_bucket({5000, 70});
  const std::vector<float> zero(5070, -0.0f);
  for (const SelectRule rule : {SelectRule::exact, SelectRule::sampled, SelectRule::threshold}) {
    const Result got =
        run(bucket, 1, {.select = rule, .threshold = 1e-30f}, std::vector{0.1, 0.1}, zero, zero);
    EXPECT_TRUE(got.selected.empty());
    EXPECT_EQ(got.messages[0].size(), 64u + 8u) << "a header and two counts";
  }
}

TEST(TopK, DeadCoordinatesTakeNoPart) {
  const Bucket bucket = make_bucket({100, 5000, 64, 3000});
  auto message = values(bucket.size, 3);
  std::vector<uint64_t> live(static_cast<size_t>(bucket.size + 63) / 64, ~uint64_t{0});
  for (int64_t i = 0; i < bucket.size; ++i)
    if (i % 3 == 0 || (i >= 5100 && i < 5164)) {  // a whole segment dead
      live[static_cast<size_t>(i / 64)] &= ~(uint64_t{1} << (i % 64));
      message[static_cast<size_t>(i)] = 1e6f;  // must not be seen
    }
  for (const Isa isa : supported())
    for (const bool bf16 : {false, true}) {
      const WithIsa with(isa);
      check(bucket, 3, {.bf16_values = bf16}, {1, 0.01, 0.5, 0.3}, message, values(bucket.size, 4),
            live.data());
    }
}

TEST(TopK, SameBytesForEveryInstructionSetThreadCountAndCut) {
  const Bucket bucket = make_bucket({70000, 3, 4093, 1 << 16, 77});
  const std::vector<double> densities = {0.001, 1, 0.1, 0.3, 0.1};
  for (const auto& message : {values(bucket.size, 5), awkward(bucket.size)}) {
    const auto residual = values(bucket.size, 6);
    const Result first = run(bucket, 3, {}, densities, message, residual);
    for (const Isa isa : supported())
      for (const int threads : {1, 2, 3}) {
        const WithIsa with(isa);
        omp_set_num_threads(threads);
        const Result other = run(bucket, 3, {}, densities, message, residual);
        EXPECT_EQ(first.messages, other.messages) << isa_name(isa) << threads;
        EXPECT_EQ(patterns(first.shadow), patterns(other.shadow)) << isa_name(isa) << threads;
        EXPECT_EQ(patterns(first.decoded), patterns(other.decoded)) << isa_name(isa) << threads;
      }
    const Result whole = run(bucket, 1, {}, densities, message, residual);
    EXPECT_EQ(patterns(first.decoded), patterns(whole.decoded)) << "number of parts";
  }
  omp_set_num_threads(omp_get_num_procs());
}

// |x - Q(x)|^2 <= (1 - k / n) |x|^2 for every x: k equal elements reach it.
TEST(TopK, ContractsAsStated) {
  const Bucket bucket = make_bucket({20000});
  for (const Shape shape : {Shape::gauss, Shape::student, Shape::constant})
    for (const double density : {0.001, 0.1, 0.5}) {
      const auto x = draw(shape, bucket.size, 10);
      const Result got =
          run(bucket, 1, {}, std::vector{density}, x, std::vector<float>(x.size(), 0.0f));
      double all = 0, left = 0;
      for (size_t i = 0; i < x.size(); ++i) {
        all += static_cast<double>(x[i]) * static_cast<double>(x[i]);
        left += static_cast<double>(got.shadow[i]) * static_cast<double>(got.shadow[i]);
      }
      EXPECT_LE(left, (1 - density) * all);
      if (shape == Shape::constant) {
        EXPECT_EQ(left, (1 - density) * all);
      }
    }
}

// Everything that is not sent comes later: sum of what was sent + residual = sum of the messages.
// Whole numbers, so that no addition rounds.
TEST(TopK, ResidualLosesNothing) {
  const Bucket bucket = make_bucket({900, 200});
  auto bound = make_topk_codec()->bind(bucket, chunks(bucket.size, 2), std::vector{0.05, 0.02});
  std::vector<float> residual(1100, 0.0f), shadow(1100), sum(1100, 0.0f), sent(1100, 0.0f);
  Messages messages(*bound);
  for (uint64_t t = 1; t <= 50; ++t) {
    auto x = values(bucket.size, t);
    for (size_t i = 0; i < x.size(); ++i) sum[i] += x[i] = std::round(x[i] * 1000);
    bound->encode(kTag, {x.data(), residual.data(), shadow.data(), nullptr}, messages.rooms,
                  messages.used);
    const auto decoded = decode(*bound, messages, kTag);
    for (size_t i = 0; i < x.size(); ++i) sent[i] += decoded[i];
    residual.swap(shadow);
  }
  for (size_t i = 0; i < sum.size(); ++i) ASSERT_EQ(sent[i] + residual[i], sum[i]) << i;
}

TEST(TopK, DefaultDensities) {
  Bucket bucket = make_bucket({5000, 5000, 200, 256});
  bucket.segments[1].rows = 50, bucket.segments[1].columns = 100;
  bucket.segments[2].rows = 2, bucket.segments[2].columns = 100;
  bucket.segments[3].rows = 2, bucket.segments[3].columns = 128;
  const TopKOptions options{.density = 0.01};
  EXPECT_EQ(topk_densities(bucket, options), (std::vector<double>{1, 0.01, 1, 0.01}));
  const auto bound = make_topk_codec(options)->bind(bucket, {{0, bucket.size}});
  Messages messages(*bound);
  const auto x = values(bucket.size, 11);
  bound->encode(kTag, {.message = x.data()}, messages.rooms, messages.used);
  EXPECT_EQ(bound->selected().size(), 50u + 3u);
  for (const int64_t i : bound->selected()) EXPECT_TRUE((i >= 5000 && i < 10000) || i >= 10200);
  const auto decoded = decode(*bound, messages, kTag);
  for (size_t i = 0; i < 5000; ++i) ASSERT_EQ(decoded[i], x[i]);
}

TEST(TopK, Counts) {
  EXPECT_EQ(topk_count(0.001, 1'000'000), 1000);
  EXPECT_EQ(topk_count(0.001, 1'000'001), 1001);
  EXPECT_EQ(topk_count(0.07, 100), 7);  // 0.07 * 100 = 7.000000000000001
  EXPECT_EQ(topk_count(0.001, 3), 1);
  EXPECT_EQ(topk_count(1, 5), 5);
  EXPECT_EQ(topk_count(0.5, 0), 0);
}

// The documented layout, byte by byte.
TEST(TopK, BytesAsDocumented) {
  const Bucket bucket = make_bucket({300, 2, 16});
  std::vector<float> x(318, 0.0f);
  x[5] = 3.0f, x[250] = -4.0f, x[300] = 7.0f, x[301] = -8.0f;
  for (const size_t i : {302u, 304u, 317u}) x[i] = 1.0f;
  const Result got =
      run(bucket, 1, {}, std::vector{0.005, 1.0, 0.2}, x, std::vector<float>(318, 0.0f));
  const auto& bytes = got.messages[0];
  const uint32_t heads[] = {2, 3u | 1u << 31};
  const float numbers[] = {7, -8, 3, -4, 1, 1, 1};  // dense ones first
  const uint8_t indices[] = {5, 0xf4, 0x01, 0b101, 0b10000000};
  std::vector<std::byte> expected(64 + 8 + 28 + 5 + 7);
  std::memcpy(expected.data() + 64, heads, 8);
  std::memcpy(expected.data() + 72, numbers, 28);
  std::memcpy(expected.data() + 100, indices, 5);
  ASSERT_EQ(bytes.size(), expected.size() / 8 * 8);
  EXPECT_EQ(std::memcmp(bytes.data() + 64, expected.data() + 64, bytes.size() - 64), 0);
  EXPECT_EQ(bytes[5], std::byte{5});
}

TEST(TopK, SumsMessagesInOrder) {
  const Bucket bucket = make_bucket({5000, 300});
  for (const bool bf16 : {false, true})
    expect_sums_in_order(*make_topk_codec({.bf16_values = bf16})
                              ->bind(bucket, chunks(bucket.size, 2), std::vector{0.3, 1.0}),
                         bucket.size);
}

TEST(TopK, WrongOptionsAreNamed) {
  const Bucket bucket = make_bucket({10, 20});
  const auto complaint = [](const auto& work) -> std::string {
    try {
      work();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::usage);
      return error.what();
    }
    return "";
  };
  EXPECT_NE(complaint([] { make_topk_codec({.density = 0}); }).find("density 0"),
            std::string::npos);
  EXPECT_NE(complaint([] { make_topk_codec({.select = SelectRule::threshold}); }).find("threshold"),
            std::string::npos);
  const auto bind = [&](std::vector<double> densities) {
    return complaint([&] { make_topk_codec()->bind(bucket, {{0, 30}}, densities); });
  };
  EXPECT_NE(bind({0.1}).find("2 segments"), std::string::npos);
  EXPECT_NE(bind({0.1, 1.5}).find("s1"), std::string::npos);
}

}  // namespace
}  // namespace terse::testing
