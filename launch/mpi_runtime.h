// MPI's life in this process. MPI is initialised (with MPI_THREAD_MULTIPLE) on first use only, so a
// binary linked to it runs without mpirun, and finalised at exit, unless the job failed:
// MPI_Finalize waits for all ranks and would hang.
#pragma once
#include <string>

namespace terse::mpi {

// Idempotent, thread-safe. Error(usage) if MPI offers less than MPI_THREAD_MULTIPLE.
void initialize();
bool initialized();
// Skip MPI_Finalize at exit: this rank ends while others still communicate, or lost one.
void abandon();

int world_rank();
int world_size();
// Collective over MPI_COMM_WORLD, blocking: rank 0's text.
std::string broadcast_text(const std::string& text);

}  // namespace terse::mpi
