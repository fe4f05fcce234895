#include "launch/mpi_runtime.h"

#define OMPI_SKIP_MPICXX 1  // the C++ bindings of old need a library of their own
#include <mpi.h>

#include <atomic>
#include <cstdlib>
#include <mutex>

#include "base/error.h"

namespace terse::mpi {
namespace {

std::once_flag once;
std::atomic<bool> ready{false};
std::atomic<bool> abandoned{false};

void finalize_at_exit() {
  int finalized = 0;
  MPI_Finalized(&finalized);
  if (!abandoned && finalized == 0) MPI_Finalize();
}

void initialize_once() {
  int already = 0;
  MPI_Initialized(&already);
  int provided = MPI_THREAD_SINGLE;
  if (already == 0) {
    if (MPI_Init_thread(nullptr, nullptr, MPI_THREAD_MULTIPLE, &provided) != MPI_SUCCESS) {
      fail(ExitCode::usage, "MPI could not be initialised; is this process started by mpirun?");
    }
    std::atexit(finalize_at_exit);
  } else {
    MPI_Query_thread(&provided);
  }
  if (provided < MPI_THREAD_MULTIPLE) {
    fail(ExitCode::usage, "this MPI offers no MPI_THREAD_MULTIPLE; use the gloo backend");
  }
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  ready = true;
}

void require(int code, const char* what) {
  if (code != MPI_SUCCESS)
    fail(ExitCode::peer_lost, "{} failed while ranks found each other", what);
}

}  // namespace

void initialize() {
  std::call_once(once, initialize_once);
}
bool initialized() {
  return ready;
}
void abandon() {
  abandoned = true;
}

int world_rank() {
  int rank = 0;
  require(MPI_Comm_rank(MPI_COMM_WORLD, &rank), "MPI_Comm_rank");
  return rank;
}

int world_size() {
  int size = 1;
  require(MPI_Comm_size(MPI_COMM_WORLD, &size), "MPI_Comm_size");
  return size;
}

std::string broadcast_text(const std::string& text) {
  int length = static_cast<int>(text.size());
  require(MPI_Bcast(&length, 1, MPI_INT, 0, MPI_COMM_WORLD), "MPI_Bcast");
  std::string out = text;
  out.resize(static_cast<size_t>(length));
  require(MPI_Bcast(out.data(), length, MPI_CHAR, 0, MPI_COMM_WORLD), "MPI_Bcast");
  return out;
}

}  // namespace terse::mpi
