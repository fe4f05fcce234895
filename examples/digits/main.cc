// A small CNN on scikit-learn's digits, on as many ranks as it is started on.
//
//   python digits.py digits.bin
//   mpirun -n 2 --bind-to none ./digits digits.bin                       # AdamW, fp32
//   mpirun -n 2 --bind-to none ./digits digits.bin onebit_adam onebit
//   mpirun -n 2 --bind-to none ./digits digits.bin dgc topk
#include <terse/base/checksum.h>
#include <terse/parallel/data_parallel.h>
#include <torch/nn.h>

#include <cstdio>
#include <exception>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

namespace {

struct Net : torch::nn::Module {
  torch::nn::Conv2d first{torch::nn::Conv2dOptions(1, 16, 3).padding(1)};
  torch::nn::BatchNorm2d norm{16};
  torch::nn::Conv2d second{torch::nn::Conv2dOptions(16, 32, 3).padding(1)};
  torch::nn::Linear out{32 * 2 * 2, 10};

  Net() {
    register_module("first", first);
    register_module("norm", norm);
    register_module("second", second);
    register_module("out", out);
  }
  at::Tensor forward(const at::Tensor& images) {
    at::Tensor x = at::max_pool2d(at::relu(norm(first(images))), 2);
    x = at::max_pool2d(at::relu(second(x)), 2);
    return out(x.flatten(1));
  }
};

struct Digits {
  at::Tensor images;  // fp32 [n, 1, 8, 8], 0 to 1
  at::Tensor labels;  // int64 [n]
  int64_t size() const { return labels.numel(); }
  Digits of(const at::Tensor& indices) const {
    return {images.index_select(0, indices), labels.index_select(0, indices)};
  }
};

Digits read(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw std::runtime_error(path + ": not there; write it with digits.py");
  std::vector<char> bytes{std::istreambuf_iterator<char>(in), {}};
  const at::Tensor rows =
      at::from_blob(bytes.data(), {static_cast<int64_t>(bytes.size()) / 65, 65}, at::kByte);
  return {rows.slice(1, 0, 64).to(at::kFloat).div(16).view({-1, 1, 8, 8}),
          rows.select(1, 64).to(at::kLong)};
}

uint64_t hash(const Net& net) {
  terse::Checksum sum;
  for (const at::Tensor& p : net.parameters())
    sum.update({static_cast<const std::byte*>(p.const_data_ptr()), p.nbytes()});
  for (const at::Tensor& b : net.buffers())
    sum.update({static_cast<const std::byte*>(b.const_data_ptr()), b.nbytes()});
  return sum.value();
}

void run(const std::string& data, const std::string& optimizer, const std::string& codec) {
  constexpr int64_t kBatch = 64, kSteps = 300;
  const Digits all = read(data);
  const at::Tensor fifth = at::arange(all.size()).remainder(5).eq(0);  // every fifth image tests
  const Digits test = all.of(fifth.nonzero().flatten());
  const Digits train = all.of(fifth.logical_not().nonzero().flatten());

  auto net = std::make_shared<Net>();
  const bool sgd = optimizer == "sgd" || optimizer == "dgc";
  terse::DataParallelOptions options;
  options.steps = kSteps;
  options.optim = {.name = optimizer, .lr = sgd ? 0.05 : 3e-3, .weight_decay = 1e-4};
  options.exchange.codec = codec;
  if (codec == "topk") options.exchange.density = 0.01;
  terse::DataParallel parallel(*net, options);

  at::manual_seed(1);  // the same order everywhere, so that ranks take different images
  const int64_t share = kBatch / parallel.ranks();
  int64_t sent = 0;
  while (parallel.steps_taken() < kSteps) {
    const at::Tensor batch = at::randint(train.size(), {kBatch}, at::kLong);
    const Digits mine = train.of(batch.narrow(0, parallel.rank() * share, share));
    const terse::StepResult step =
        parallel.step(at::cross_entropy_loss(net->forward(mine.images), mine.labels));
    sent += step.wire_bytes;
    if (parallel.rank() == 0 && parallel.steps_taken() % 100 == 0)
      std::printf("step %lld loss %.4f\n", static_cast<long long>(parallel.steps_taken()),
                  step.loss);
  }

  parallel.sync_buffers();
  parallel.check_replicas();
  net->eval();
  const at::NoGradGuard no_grad;
  const auto right = net->forward(test.images).argmax(1).eq(test.labels).sum().item<int64_t>();
  if (parallel.rank() == 0)
    std::printf("accuracy %.2f %% of %lld images, %lld bytes sent\n",
                100.0 * static_cast<double>(right) / static_cast<double>(test.size()),
                static_cast<long long>(test.size()), static_cast<long long>(sent));
  std::printf("rank %d weights %016llx\n", parallel.rank(),
              static_cast<unsigned long long>(hash(*net)));
}

}  // namespace

int main(int argc, char** argv) {
  try {
    if (argc < 2) throw std::runtime_error("usage: digits DATA [OPTIMIZER [CODEC]]");
    run(argv[1], argc > 2 ? argv[2] : "adamw", argc > 3 ? argv[3] : "fp32");
  } catch (const std::exception& error) {
    std::fprintf(stderr, "digits: %s\n", error.what());
    return 1;
  }
}
