// Run by reshard_test.cc:  trainer_run_ranks FOLDER STEPS
// Takes STEPS steps of 1-bit Adam from FOLDER's newest checkpoint (or from the start), checks the
// ledger and saves.
#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>

#include "base/error.h"
#include "launch/rendezvous.h"
#include "tests/optim/training.h"
#include "trainer/checkpoint/checkpoint.h"

namespace terse {
namespace {

constexpr double kBeta1 = 0.9;

void expect(bool condition, const std::string& what) {
  if (!condition) throw std::runtime_error("reshard: " + what);
}

at::Tensor tensor_of(const TensorView& view) {
  at::Tensor out = at::empty({view.numel()}, view.dtype == DType::f64 ? at::kDouble : at::kFloat);
  std::memcpy(out.mutable_data_ptr(), view.data.data(), view.data.size());
  return out.to(at::kDouble);
}

class Ledger {
 public:
  Ledger(Group group, const std::string& folder) : group_(group), folder_(folder) {
    OptimOptions optim;
    optim.name = "onebit_adam";
    optim.freeze = 5;
    ExchangeOptions exchange;
    exchange.codec = "onebit";
    training_ = std::make_unique<Training>(group, optim, exchange, ReducerOptions{.clip = 0});
    given_ = at::zeros_like(training_->weights(), at::kDouble);
    sent_ = at::zeros_like(given_);
    const CheckpointSearch search = newest_checkpoint(folder, group.rank());
    if (search.found == nullptr) return;
    training_->load(*search.found);
    steps_ = search.found->step();
    given_ = tensor_of(*search.found->tensor(Scope::shared, "ledger/given"));
    sent_ = tensor_of(*search.found->tensor(Scope::shared, "ledger/sent"));
    check(fmt::format("after loading what {} ranks saved", search.found->saved_ranks()));
  }

  void step() {
    const at::Tensor before = all_of(Scope::shared, "optim/m/");
    at::Tensor gradient;
    const StepResult r = training_->step(false, [&] { gradient = training_->gradients(); });
    ++steps_;
    expect(r.committed, "a step was skipped");
    if (r.phase != Phase::codec) return;
    const at::Tensor live = all_of(Scope::shared, "optim/vhat/").gt(0);
    given_ += live * (kBeta1 * before + (1 - kBeta1) * mean(gradient));
    sent_ += all_of(Scope::shared, "optim/m/");
  }

  void check(const std::string& when) const {
    const at::Tensor kept = mean(all_of(Scope::own, "exchange/residual/")) + server();
    const double largest = kept.abs().max().item<double>();
    const double wrong = (given_ - sent_ - kept).abs().max().item<double>();
    expect(largest > 1e-3, "there is no residual to lose");
    // fp32 sums of momenta and residuals over a hundred steps.
    expect(wrong < 1e-4 * largest, fmt::format("{}: {} of {} is missing", when, wrong, largest));
  }

  void save() const {
    CheckpointWriter writer(FileSystem::real(), folder_, steps_, group_.rank(),
                            [this](const CheckpointPart& part) {
                              Group group = group_;
                              return group.all_gather_value(part, "checkpoint");
                            });
    training_->save(writer);
    for (const auto& [name, t] : {std::pair{"ledger/given", given_}, {"ledger/sent", sent_}})
      writer.tensor(Scope::shared, name,
                    {DType::f64, {t.numel()}, bytes_of(t.const_data_ptr<double>(), t.numel())});
    writer.commit(1);
  }

 private:
  at::Tensor mean(const at::Tensor& own) const {
    Group group = group_;
    at::Tensor all = at::empty({group.size() * own.numel()}, at::kFloat);
    group.all_gather(all, own.to(at::kFloat).contiguous(), "ledger").wait();
    return all.view({group.size(), -1}).to(at::kDouble).mean(0);
  }
  // PREFIX/NAME of all parameters in the order of weights(); zeros where there is none.
  at::Tensor all_of(Scope scope, const std::string& prefix) const {
    MemoryState state(group_.size());
    training_->save(state);
    std::vector<at::Tensor> parts;
    for (const Parameter& p : training_->parameters()) {
      const auto view = state.tensor(scope, prefix + p.name, -1);
      parts.push_back(view ? tensor_of(*view) : at::zeros({p.value.numel()}, at::kDouble));
    }
    return at::cat(parts);
  }
  // Each rank holds its chunk of a bucket, so of a parameter perhaps a part: put where it belongs
  // and add up over the ranks.
  at::Tensor server() const {
    MemoryState state(group_.size());
    training_->save(state);
    at::Tensor own = at::zeros_like(given_);
    for (const Bucket& bucket : training_->reducer().plan().buckets) {
      const Range chunk = chunk_of(bucket.size, group_.size(), group_.rank());
      for (const Segment& s : bucket.segments) {
        const auto view = state.tensor(Scope::own, "exchange/server_residual/" + s.name, -1);
        if (!view) continue;
        const int64_t begin = std::max(chunk.begin - s.offset, int64_t{0});
        own.narrow(0, offset_of(s.name) + begin, view->numel()).copy_(tensor_of(*view));
      }
    }
    return mean(own) * static_cast<double>(group_.size());
  }
  int64_t offset_of(const std::string& name) const {
    int64_t at = 0;
    for (const Parameter& p : training_->parameters()) {
      if (p.name == name) return at;
      at += p.value.numel();
    }
    throw std::runtime_error("no parameter " + name);
  }

  Group group_;
  std::string folder_;
  std::unique_ptr<Training> training_;
  at::Tensor given_, sent_;  // sums over the compressed steps, of means over ranks
  int64_t steps_ = 0;
};

int run(const std::string& folder, int steps) {
  try {
    World world = resolve_world(current_environment());
    const auto timeout = std::chrono::seconds(60);
    const auto store = join(world, timeout);
    const Group group = make_group(world, store, {.timeout = timeout});
    Ledger ledger(group, folder);
    for (int i = 0; i < steps; ++i) ledger.step();
    ledger.check("after training");
    ledger.save();
    return 0;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}

}  // namespace
}  // namespace terse

int main(int argc, char** argv) {
  return argc == 3 ? terse::run(argv[1], std::atoi(argv[2])) : 2;
}
