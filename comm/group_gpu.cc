#include "comm/group_gpu.h"

#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <fmt/format.h>

#include "comm/nccl_group.h"

namespace terse {

std::string gpu_problem(const World& world, BackendKind backend) {
  if (!nccl_available())
    return "this terse was built without CUDA: build the `cuda` preset (-DTERSE_CUDA=ON)";
  if (backend == BackendKind::gloo || backend == BackendKind::mpi)
    return fmt::format("the {} backend moves CPU tensors only: leave --backend out, or say nccl",
                       backend == BackendKind::mpi ? "mpi" : "gloo");
  const auto gpus = at::detail::getCUDAHooks().deviceCount();
  if (gpus == 0) return "this machine has no GPU that CUDA can use (what does nvidia-smi say?)";
  if (world.local_rank >= gpus)
    return fmt::format(
        "it is number {} of the {} ranks on its machine, which has {} GPU(s): start at most {} "
        "rank(s) a machine",
        world.local_rank + 1, world.local_size, gpus, gpus);
  return "";
}

c10::Device gpu_of(const World& world) {
  return {c10::kCUDA, static_cast<c10::DeviceIndex>(world.local_rank)};
}

void set_current_device(c10::Device device) {
  if (device.is_cpu()) return;
  const c10::impl::VirtualGuardImpl guard(device.type());
  guard.setDevice(device);
}

}  // namespace terse
