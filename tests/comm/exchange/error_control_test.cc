// Every policy of error control over every contractive codec, on two ranks without a network,
// against the papers' recursions in fp64 (simulated_control.h). Low rank, whose two ranks must
// talk in the middle, is in low_rank_ranks.cc.
#include "comm/error_control.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/state.h"
#include "comm/codec/bits.h"
#include "comm/codec/dense_codec.h"
#include "comm/codec/onebit.h"
#include "comm/codec/topk.h"
#include "tests/comm/codec/buckets.h"
#include "tests/comm/exchange/ranks.h"
#include "tests/comm/exchange/simulated_control.h"

namespace terse::testing {
namespace {

constexpr int kCalls = 20, kRanks = 2;
constexpr const char* kPrefix = "test/residual";

// Two matrices of whole blocks of 128, so that a formula sees blocks as rows.
BucketPlan two_segments() {
  Bucket bucket{.index = 0, .size = 0, .segments = {}};
  const std::vector<std::pair<int64_t, int64_t>> shapes = {{24, 32}, {16, 40}};
  for (const auto& [rows, columns] : shapes) {
    bucket.segments.push_back({fmt::format("s{}", bucket.segments.size()), bucket.size,
                               rows * columns, rows, columns, true});
    bucket.size += rows * columns;
  }
  BucketPlan plan;
  plan.buckets.push_back(bucket);
  return plan;
}

// The codecs' documented formulas in fp64; rows are groups with a scale of their own.
at::Tensor one_bit(const at::Tensor& x) {
  const at::Tensor one = at::ones_like(x);
  return at::where(x >= 0, one, -one) * x.abs().mean(1, true);
}

at::Tensor levels_by_norm(const at::Tensor& x, int bits) {
  const at::Tensor step = x.abs().amax(1, true) / (std::exp2(bits - 1) - 1);
  return at::round(x / step) * step;
}

at::Tensor levels_by_range(const at::Tensor& x, int bits) {
  const at::Tensor low = x.amin(1, true), step = (x.amax(1, true) - low) / (std::exp2(bits) - 1);
  return low + at::round((x - low) / step) * step;
}

at::Tensor largest(const at::Tensor& x, double density) {
  const auto k = static_cast<int64_t>(std::ceil(density * static_cast<double>(x.numel())));
  const at::Tensor flat = x.flatten(), chosen = std::get<1>(at::topk(flat.abs(), k));
  return at::zeros_like(flat).scatter(0, chosen, flat.gather(0, chosen));
}

struct Contractive {
  std::string name;
  std::function<std::unique_ptr<Codec>()> make;
  int64_t block;  // 0: a segment
  std::function<at::Tensor(const at::Tensor& groups)> formula;

  at::Tensor operator()(const Bucket& bucket, const at::Tensor& x) const {
    std::vector<at::Tensor> parts;
    for (const Segment& s : bucket.segments) {
      const at::Tensor part = x.narrow(0, s.offset, s.size);
      parts.push_back(formula(part.view({-1, block == 0 ? s.size : block})).flatten());
    }
    return at::cat(parts);
  }
};

Contractive bits_of(const std::string& name, int bits, BitsOptions::Scaling scaling,
                    int64_t block) {
  return {name, [=] { return make_bits_codec({.bits = bits, .scaling = scaling, .block = block}); },
          block,
          [=](const at::Tensor& x) {
            return scaling == BitsOptions::Scaling::norm ? levels_by_norm(x, bits)
                                                         : levels_by_range(x, bits);
          }};
}

Contractive topk_of(const std::string& name, double density) {
  return {name, [=] { return make_topk_codec({.density = density}); }, 0,
          [=](const at::Tensor& x) { return largest(x, density); }};
}

// |x - C(x)| < |x| for every x: max_min below the blocks that comm/codec/bits.h names. Densities
// times sizes are not whole, so that k needs no rule for ties of rounding.
std::vector<Contractive> contractive_codecs() {
  using Scaling = BitsOptions::Scaling;
  return {{"onebit", [] { return make_onebit_codec({.scale = ScaleKind::l1}); }, 0, one_bit},
          {"onebit_blocks", [] { return make_onebit_codec({.scale = ScaleKind::l1, .block = 64}); },
           64, one_bit},
          bits_of("bits2_norm", 2, Scaling::norm, 64),
          bits_of("bits4_norm", 4, Scaling::norm, 128),
          bits_of("bits4_max_min", 4, Scaling::max_min, 128),
          bits_of("bits3_max_min", 3, Scaling::max_min, 64),
          topk_of("topk_few", 0.013),
          topk_of("topk_many", 0.21)};
}

// What ranks make of one call.
struct Call {
  std::vector<at::Tensor> x;  // what each compressed, fp32
  std::vector<at::Tensor> q;  // what each sent, decoded
  at::Tensor answer;
};

// Two ranks that send each other whole messages.
class TwoRanks {
 public:
  TwoRanks(const Codec& codec, const FeedbackOptions& feedback) : plan_(two_segments()) {
    for (int rank = 0; rank < kRanks; ++rank) {
      controls_.push_back(std::make_unique<ErrorControl>(feedback, kPrefix));
      controls_.back()->attach(plan_, at::kCPU);
    }
    bound_ = codec.bind(bucket(), chunks(bucket().size, 1), {});
  }

  const Bucket& bucket() const { return plan_.buckets[0]; }
  ErrorControl& control(int rank) { return *controls_[static_cast<size_t>(rank)]; }

  Call step(const std::vector<at::Tensor>& messages) {
    Call call;
    std::vector<Messages> sent;
    std::vector<MessageTag> tags;
    std::vector<std::span<const std::byte>> views;
    for (int rank = 0; rank < kRanks; ++rank) {
      const at::Tensor& m = messages[static_cast<size_t>(rank)];
      const ErrorControl::Input in = control(rank).begin(0);
      call.x.push_back(m + in.residual);
      at::Tensor left = in.left;
      sent.emplace_back(*bound_);
      tags.push_back({.bucket = 0, .sender = static_cast<uint32_t>(rank), .step = 1, .stage = 0});
      bound_->encode(tags.back(),
                     {.message = m.const_data_ptr<float>(),
                      .residual = in.residual.const_data_ptr<float>(),
                      .shadow = left.mutable_data_ptr<float>()},
                     sent.back().rooms, sent.back().used);
      call.q.push_back(at::tensor(decode(*bound_, sent.back(), tags.back())));
      control(rank).encoded(0, m);
    }
    for (const Messages& m : sent) views.push_back(m.view(0));
    at::Tensor mean = at::empty({bucket().size}, at::kFloat);
    bound_->decode_sum(0, tags, views, 1.0f / kRanks, nullptr, mean.mutable_data_ptr<float>());
    for (int rank = 0; rank < kRanks; ++rank) {
      call.answer = mean.clone();
      control(rank).answered(0, call.answer);
      control(rank).commit();
    }
    return call;
  }

  // What the control of a rank keeps besides r, as a checkpoint has it: "_error" or "_mean".
  at::Tensor kept(int rank, const std::string& what) {
    MemoryState state(kRanks);
    control(rank).save(state);
    std::vector<at::Tensor> parts;
    for (const Segment& s : bucket().segments) {
      const auto view =
          state.require(Scope::own, kPrefix + what + "/" + s.name, DType::f32, {s.size});
      const auto values = view.as<float>();
      parts.push_back(at::tensor(std::vector<float>(values.begin(), values.end())));
    }
    return at::cat(parts);
  }

  // As if h had never been: r = e, mean h = 0.
  void forget_h(int rank) {
    MemoryState saved(kRanks), state(kRanks);
    control(rank).save(saved);
    const at::Tensor e = kept(rank, "_error"), zero = at::zeros_like(e);
    state.value(Scope::shared, "exchange/steps/0",
                *saved.integer(Scope::shared, "exchange/steps/0"));
    const std::vector<std::pair<std::string, at::Tensor>> all = {
        {"", e}, {"_error", e}, {"_mean", zero}};
    for (const Segment& s : bucket().segments)
      for (const auto& [what, values] : all) {
        const at::Tensor part = values.narrow(0, s.offset, s.size).contiguous();
        state.tensor(Scope::own, kPrefix + what + "/" + s.name,
                     {DType::f32, {s.size}, bytes_of(part.const_data_ptr<float>(), s.size)});
      }
    control(rank).load(state, true);
  }

 private:
  BucketPlan plan_;
  std::vector<std::unique_ptr<ErrorControl>> controls_;
  std::unique_ptr<BoundCodec> bound_;
};

std::vector<at::Tensor> messages_of(int call) {
  const int64_t n = two_segments().buckets[0].size;
  return {host_message(n, 0, call), host_message(n, 1, call)};
}

// Beside the message that both add and take away. Roundings of 2^-24 a call, which EControl at full
// strength adds up twice (e sums what h has summed): 20 calls make 200 of them, 1.2e-5.
void expect_same(const at::Tensor& ours, const at::Tensor& wanted, const at::Tensor& message,
                 const std::string& what) {
  const double scale = wanted.norm().item<double>() + message.norm().item<double>();
  EXPECT_LT((ours.to(at::kDouble) - wanted).norm().item<double>(), 2e-5 * scale) << what;
}

// q is C(x). An element whose x lies on the border between two levels, or between the last that
// is sent and the first that is not, may fall on either side in fp32: about one in 10^5.
void expect_compressed(const Contractive& codec, const Bucket& bucket, const at::Tensor& x,
                       const at::Tensor& q) {
  const at::Tensor off = (codec(bucket, x) - q).abs() > 1e-4 * x.abs().max();
  EXPECT_LE(off.sum().item<int64_t>(), 2);
}

std::ostream& operator<<(std::ostream& out, const Contractive& c) {
  return out << c.name;
}

class EveryContractive : public ::testing::TestWithParam<Contractive> {};

std::string codec_name(const ::testing::TestParamInfo<Contractive>& info) {
  return info.param.name;
}

INSTANTIATE_TEST_SUITE_P(ErrorControl, EveryContractive, ::testing::ValuesIn(contractive_codecs()),
                         codec_name);

TEST_P(EveryContractive, FollowsThePapersRecursions) {
  const Contractive& codec = GetParam();
  for (const FeedbackOptions& feedback : control_options()) {
    SCOPED_TRACE(control_label(feedback));
    TwoRanks ours(*codec.make(), feedback);
    Call call;
    std::vector<at::Tensor> in;
    // The recursion goes its own way from what was sent, once that is known to be C of its own x.
    const auto compress = [&](const std::vector<at::Tensor>& x) {
      std::vector<at::Tensor> q;
      for (size_t i = 0; i < x.size(); ++i) {
        expect_same(call.x[i], x[i], in[i], "what is compressed");
        q.push_back(call.q[i].to(at::kDouble));
        expect_compressed(codec, ours.bucket(), x[i], q[i]);
      }
      return q;
    };
    SimulatedControl papers(feedback, kRanks, ours.bucket().size, compress);
    for (int t = 0; t < kCalls; ++t) {
      SCOPED_TRACE(t);
      in = messages_of(t);
      call = ours.step(in);
      expect_same(call.answer, papers.step(in), in[0], "answer");
      for (int rank = 0; rank < kRanks; ++rank) {
        const auto i = static_cast<size_t>(rank);
        const at::Tensor& waiting = feedback.kind == Feedback::ef21 ? papers.h()[i] : papers.e()[i];
        const at::Tensor r = ours.control(rank).residual(0);
        if (feedback.kind == Feedback::classic) expect_same(r, waiting, in[i], "e");
        if (feedback.kind == Feedback::ef21) expect_same(r, -waiting, in[i], "-h");
        if (feedback.kind == Feedback::econtrol)
          expect_same(ours.kept(rank, "_error"), waiting, in[i], "e");
        const double length = waiting.norm().item<double>();
        EXPECT_NEAR(std::sqrt(ours.control(rank).squared_norm()), length,
                    2e-5 * (length + in[i].norm().item<double>()));
      }
    }
  }
}

// e' = e + m - h' and the answer is mean h': whatever the codec and eta, answers + mean e =
// messages.
TEST_P(EveryContractive, EControlLosesNothing) {
  for (const double eta : {0.02, 0.3, 1.0}) {
    SCOPED_TRACE(eta);
    TwoRanks ours(*GetParam().make(), {.kind = Feedback::econtrol, .eta = eta});
    at::Tensor given = at::zeros({ours.bucket().size}, at::kDouble), sent = at::zeros_like(given);
    for (int t = 0; t < kCalls; ++t) {
      const auto in = messages_of(t);
      given += (in[0].to(at::kDouble) + in[1].to(at::kDouble)) / 2;
      sent += ours.step(in).answer.to(at::kDouble);
    }
    const at::Tensor left =
        (ours.kept(0, "_error").to(at::kDouble) + ours.kept(1, "_error").to(at::kDouble)) / 2;
    const double scale = given.norm().item<double>() + left.norm().item<double>();
    EXPECT_LT((sent + left - given).norm().item<double>(), 1e-5 * scale);
  }
}

// eta = 0: the error is kept and never used, which is EF21.
TEST_P(EveryContractive, EControlWithoutFeedbackIsEf21) {
  const auto codec = GetParam().make();
  TwoRanks ef21(*codec, {.kind = Feedback::ef21});
  TwoRanks econtrol(*codec, {.kind = Feedback::econtrol, .eta = 0});
  for (int t = 0; t < kCalls; ++t) {
    const auto in = messages_of(t);
    const Call a = ef21.step(in), b = econtrol.step(in);
    ASSERT_TRUE(at::equal(a.answer, b.answer)) << t;
    for (size_t i = 0; i < kRanks; ++i) ASSERT_TRUE(at::equal(a.q[i], b.q[i])) << t;
  }
}

// eta = 1 and h = 0: all of the error on top of the whole message, which is classic error feedback.
TEST_P(EveryContractive, EControlAtFullStrengthWithoutHIsClassic) {
  const auto codec = GetParam().make();
  TwoRanks classic(*codec, {.kind = Feedback::classic});
  TwoRanks econtrol(*codec, {.kind = Feedback::econtrol, .eta = 1.0});
  for (int t = 0; t < kCalls; ++t) {
    const auto in = messages_of(t);
    const Call a = classic.step(in), b = econtrol.step(in);
    ASSERT_TRUE(at::equal(a.answer, b.answer)) << t;
    for (int rank = 0; rank < kRanks; ++rank) {
      ASSERT_TRUE(at::equal(classic.control(rank).residual(0), econtrol.kept(rank, "_error"))) << t;
      econtrol.forget_h(rank);
    }
  }
}

// The first call compresses the message itself under every policy.
TEST_P(EveryContractive, PoliciesBeginAlike) {
  const auto codec = GetParam().make();
  const auto in = messages_of(0);
  const Call first = TwoRanks(*codec, {.kind = Feedback::classic}).step(in);
  for (const FeedbackOptions& feedback : control_options()) {
    const Call call = TwoRanks(*codec, feedback).step(in);
    EXPECT_TRUE(at::equal(call.answer, first.answer)) << control_label(feedback);
    EXPECT_TRUE(at::equal(call.x[1], in[1])) << control_label(feedback);
  }
}

// C(x) = x, delta = 1: nothing is left over, and every policy is the plain average.
TEST(ErrorControl, WithoutLossIsThePlainAverage) {
  for (const auto& codec : {make_dense_codec(CodecId::fp32), make_topk_codec({.density = 1})})
    for (const FeedbackOptions& feedback : control_options()) {
      SCOPED_TRACE(codec->name() + " " + control_label(feedback));
      TwoRanks ours(*codec, feedback);
      for (int t = 0; t < kCalls; ++t) {
        const auto in = messages_of(t);
        const at::Tensor mean = (in[0].to(at::kDouble) + in[1].to(at::kDouble)) / 2;
        // EF21 and EControl rebuild m from r + m and h: a rounding of each a call.
        EXPECT_LT(relative_error(ours.step(in).answer, mean), 1e-5) << t;
      }
      if (feedback.kind == Feedback::ef21) continue;  // keeps h, the message
      for (int rank = 0; rank < kRanks; ++rank)
        EXPECT_LT(std::sqrt(ours.control(rank).squared_norm()),
                  1e-5 * messages_of(0)[0].norm().item<double>());
    }
}

}  // namespace
}  // namespace terse::testing
