#include "trainer/bench/quant/against_memcpy.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cstring>

#include "trainer/bench/core/pairs.h"

namespace terse {
namespace {

void plain_copy(const at::Tensor& to, const at::Tensor& from) {
  const auto* source = static_cast<const std::byte*>(from.const_data_ptr());
  auto* target = static_cast<std::byte*>(to.mutable_data_ptr());
  at::parallel_for(0, static_cast<int64_t>(from.nbytes()), 1 << 15,
                   [&](int64_t begin, int64_t end) {
                     std::memcpy(target + begin, source + begin, static_cast<size_t>(end - begin));
                   });
}

}  // namespace

void AgainstMemcpy::add(const std::string& name, const at::Tensor& input,
                        const std::function<void()>& work) {
  const at::Tensor target = at::empty_like(input);
  const int64_t repeats = std::max<int64_t>(1, (1 << 22) / input.numel());
  const auto times = [repeats](const std::function<void()>& one) {
    for (int64_t i = 0; i < repeats; ++i) one();
  };
  const PairedTime time = measure_pairs([&] { times([&] { plain_copy(target, input); }); },
                                        [&] { times(work); }, pairs_);
  const double elements = static_cast<double>(input.numel() * repeats);
  figures_.push_back({.name = name,
                      .value = time.seconds * 1e9 * threads_ / elements,
                      .unit = "ns/element",
                      .baseline = "memcpy",
                      .ratio = time.ratio,
                      .lower_is_better = true});
}

}  // namespace terse
