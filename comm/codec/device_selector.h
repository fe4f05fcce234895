// Exact top-k on a GPU: TopKSelector's results (comm/codec/select.h), on the host. Only for files
// of builds with CUDA (*_cuda.cc).
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "comm/codec/device_memory.h"
#include "comm/codec/topk_launch.h"
#include "comm/codec/topk_message.h"

namespace terse::cuda {

class DeviceSelector {
 public:
  // `ranges` of a bucket of `size` elements ascend and do not overlap; most_k[s] is the largest k
  // that run() will be given.
  DeviceSelector(std::span<const Range> ranges, std::span<const int64_t> most_k, int64_t size,
                 bool bf16);

  // in.shadow = what is left of x, if it is given; elements outside the ranges are x. Waits for the
  // stream.
  void run(const EncodeInput& in, std::span<const int64_t> k, void* stream);

  // What run() chose; valid until the next call.
  TopKEntries entries() const;

 private:
  int64_t size_;
  bool bf16_;
  int64_t most_;  // entries
  std::vector<TopKTile> tiles_;
  HostArray<TopKState> states_;
  HostArray<int64_t> indices_;
  HostArray<float> values_;
  HostArray<int64_t> total_;
  DeviceArray<TopKTile> tile_;
  DeviceArray<TopKState> state_;
  DeviceArray<uint32_t> bins_;
  DeviceArray<TopKTileCount> counts_;
  DeviceArray<int64_t> chosen_;
  DeviceArray<float> chosen_values_;
  DeviceArray<int64_t> chosen_total_;
  Growing<DeviceArray<float>> own_shadow_;  // where none is wanted
};

}  // namespace terse::cuda
