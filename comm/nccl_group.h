// The NCCL backend, where terse is built with TERSE_CUDA; elsewhere an Error(usage) that says so.
#pragma once
#include <chrono>
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>

namespace terse {

bool nccl_available();
// One rank per GPU; `device` is this rank's. Collective.
c10::intrusive_ptr<c10d::Backend> make_nccl_backend(c10::intrusive_ptr<c10d::Store> store, int rank,
                                                    int size, int device,
                                                    std::chrono::milliseconds timeout);

}  // namespace terse
