// What this machine and this launch look like, for `terse doctor` and for a run's environment file.
// Joins no rendezvous and changes nothing, so that it also works where a job would hang.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "launch/binding.h"
#include "launch/world.h"

namespace terse {

struct DoctorReport {
  World world;
  std::string world_error;  // why the launch cannot work; `world` is then a single rank
  std::string host;
  std::string kernel;
  std::string processor;
  int allowed_cpus = 0;     // hardware threads that the cgroup allows
  Binding binding;          // what a run would use; not applied
  std::string isa;          // scalar, avx2 or avx512
  std::string torch;        // LibTorch's version
  std::string mpi;          // the MPI library's version line
  bool mpi_launch = false;  // started by mpirun
  bool cuda_built = false;
  std::vector<std::string> gpus;  // from /proc/driver/nvidia, also without CUDA
  int64_t memory_bytes = 0;       // of the machine
  int64_t available_bytes = 0;    // now, and within the cgroup's limit
};

// `binding`: what the command line asks for.
DoctorReport examine(const Environment& environment, const WorldFlags& flags = {},
                     BindingOptions binding = {});
std::string render_text(const DoctorReport& report);
std::string render_json(const DoctorReport& report);  // one object, two spaces of indentation

}  // namespace terse
