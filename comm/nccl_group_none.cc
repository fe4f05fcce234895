#include "base/error.h"
#include "comm/nccl_group.h"

namespace terse {

bool nccl_available() {
  return false;
}

c10::intrusive_ptr<c10d::Backend> make_nccl_backend(c10::intrusive_ptr<c10d::Store>, int, int, int,
                                                    std::chrono::milliseconds) {
  fail(ExitCode::usage,
       "this terse was built without NCCL: build the `cuda` preset (-DTERSE_CUDA=ON), or use the "
       "gloo or mpi backend");
}

}  // namespace terse
