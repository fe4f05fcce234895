#include <cuda_runtime.h>

#include "comm/codec/header_launch.h"

namespace terse::cuda {
namespace {

static_assert(kMostHeaders == 32, "one warp looks at a batch");

// Thread k has message k.
__global__ void write_kernel(const __grid_constant__ HeaderBatch batch) {
  const int k = static_cast<int>(threadIdx.x);
  if (k >= batch.count) return;
  auto* to = reinterpret_cast<uint64_t*>(batch.message[k]);
  for (int i = 0; i < kHeaderWords; ++i) to[i] = batch.header[k][i];
}

__global__ void check_kernel(const __grid_constant__ HeaderBatch batch, HeaderVerdict* verdict) {
  const int k = static_cast<int>(threadIdx.x);
  bool wrong = false;
  if (k < batch.count) {
    const auto* from = reinterpret_cast<const uint64_t*>(batch.message[k]);
    for (int i = 0; i < kHeaderWords; ++i) wrong = wrong || from[i] != batch.header[k][i];
  }
  const unsigned all = __ballot_sync(0xffffffffu, wrong);
  // The first wrong message of the first wrong batch: later ones leave it be.
  if (all == 0 || k != __ffs(static_cast<int>(all)) - 1 || verdict->wrong != 0) return;
  const auto* from = reinterpret_cast<const uint64_t*>(batch.message[k]);
  for (int i = 0; i < kHeaderWords; ++i) {
    verdict->expected[i] = batch.header[k][i];
    verdict->found[i] = from[i];
  }
  verdict->wrong = 1;
}

}  // namespace

int write_headers(const HeaderBatch& batch, void* stream) {
  write_kernel<<<1, kMostHeaders, 0, static_cast<cudaStream_t>(stream)>>>(batch);
  return cudaGetLastError();
}

int check_headers(const HeaderBatch& batch, HeaderVerdict* verdict, void* stream) {
  check_kernel<<<1, kMostHeaders, 0, static_cast<cudaStream_t>(stream)>>>(batch, verdict);
  return cudaGetLastError();
}

}  // namespace terse::cuda
