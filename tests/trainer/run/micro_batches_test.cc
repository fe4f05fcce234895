// The micro-batches of a step multiply the weight that was encoded once, before the first of them.
#include <ATen/ATen.h>

#include "qat/quantized_linear.h"
#include "tests/trainer/run/small_session.h"
#include "trainer/model/model.h"

namespace terse {
namespace {

constexpr int kMicroBatches = 4;  // of 8 of the 32 tokens of a step

struct Watched {
  QuantizedLinear* layer;
  std::vector<at::Tensor> seen;  // the weight in each micro-batch's backward
};

class MicroBatches : public SmallSession {
 protected:
  std::unique_ptr<Session> session_of(const std::string& more) const {
    std::string text = small_recipe(more);
    const std::string table = "[train]\n";
    text.insert(text.find(table) + table.size(), "micro_tokens = 8\n");
    return std::make_unique<Session>(parse_recipe(text, "test"), Group::single(), data_, at::kCPU,
                                     0, 1);
  }
};

// In the backward of every micro-batch each weight is changed: whoever encoded again, would see it.
TEST_F(MicroBatches, MultiplyWhatWasEncodedOnce) {
  for (const char* more :
       {"[qat]\ntarget = \"gguf:q4_0\"\n",
        "[qat]\ntarget = \"none\"\nweight_bits = 4\nact_bits = 4\nhadamard = 32\n",
        "[qat]\ntarget = \"none\"\nweight_bits = 4\nact_bits = 4\nestimator = \"lsq\"\n",
        "[sparsity]\npattern = \"2:4\"\nschedule = \"mask_linear\"\n"}) {
    SCOPED_TRACE(more);
    const auto run = session_of(more);
    std::vector<Watched> watched;
    for (QuantizedLinear* layer : run->model().linears()) watched.push_back({layer, {}});
    for (Watched& one : watched)
      one.layer->weight().register_hook([&one](const at::Tensor&) {
        one.seen.push_back(one.layer->effective_weight().clone());
        one.layer->weight().detach().mul_(-1.5);
      });
    run->train_step();
    for (const Watched& one : watched) {
      ASSERT_EQ(one.seen.size(), kMicroBatches) << one.layer->name();
      for (const at::Tensor& weight : one.seen)
        EXPECT_TRUE(at::equal(weight, one.seen.front())) << one.layer->name();
      // After the step it is encoded.
      EXPECT_FALSE(at::equal(one.layer->effective_weight(), one.seen.front()));
    }
  }
}

}  // namespace
}  // namespace terse
