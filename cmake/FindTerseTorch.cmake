# Finds PyPI's torch wheel and defines terse::torch. Caffe2's own CMake files demand a CUDA toolkit
# even for the CPU, hence this file. A CPU binary needs libtorch_cpu, libc10, the CUDA runtime and
# CUPTI (both are NEEDED by libtorch_cpu); only the `cuda` preset links libtorch_cuda.
set(TERSE_VENV "${PROJECT_SOURCE_DIR}/.venv" CACHE PATH "Virtual environment that holds torch")
file(GLOB _site LIST_DIRECTORIES true "${TERSE_VENV}/lib/python3*/site-packages")
set(TERSE_TORCH_DIR "${_site}/torch" CACHE PATH "The torch package's folder")
if(NOT EXISTS "${TERSE_TORCH_DIR}/lib/libtorch_cpu.so")
  message(FATAL_ERROR "torch is not at '${TERSE_TORCH_DIR}'. Run scripts/setup, or set "
                      "-DTERSE_TORCH_DIR=<site-packages>/torch")
endif()
get_filename_component(_packages "${TERSE_TORCH_DIR}" DIRECTORY)
find_library(TERSE_CUDART NAMES libcudart.so.13 cudart
             HINTS "${_packages}/nvidia/cu13/lib" /usr/local/cuda/lib64 REQUIRED)
find_library(TERSE_CUPTI NAMES libcupti.so.13 cupti
             HINTS "${_packages}/nvidia/cu13/lib" /usr/local/cuda/lib64
             /usr/local/cuda/extras/CUPTI/lib64 REQUIRED)
get_filename_component(_cuda_lib_dir "${TERSE_CUDART}" DIRECTORY)

add_library(terse_torch INTERFACE)
add_library(terse::torch ALIAS terse_torch)
target_include_directories(terse_torch SYSTEM INTERFACE
  "${TERSE_TORCH_DIR}/include" "${TERSE_TORCH_DIR}/include/torch/csrc/api/include")
# The wheel's include folder brings a fmt of its own (found before the system's) without its library.
target_compile_definitions(terse_torch INTERFACE USE_C10D_GLOO FMT_HEADER_ONLY)
target_link_libraries(terse_torch INTERFACE
  "${TERSE_TORCH_DIR}/lib/libtorch_cpu.so" "${TERSE_TORCH_DIR}/lib/libc10.so"
  "${TERSE_CUDART}" "${TERSE_CUPTI}")
# DT_RPATH, not RUNPATH: libtorch_cpu's own dependencies (libgomp above all) must resolve to the
# wheel's copies, or two OpenMP runtimes fight over the cores.
target_link_options(terse_torch INTERFACE
  "LINKER:--disable-new-dtags,-rpath,${TERSE_TORCH_DIR}/lib:${_cuda_lib_dir}")
find_path(TERSE_GLOO_INCLUDE gloo/algorithm.h REQUIRED)

if(TERSE_CUDA)
  find_path(TERSE_NCCL_INCLUDE nccl.h HINTS "${_packages}/nvidia/nccl/include"
            /usr/local/cuda/include REQUIRED)
  target_compile_definitions(terse_torch INTERFACE USE_C10D_NCCL)
  target_include_directories(terse_torch SYSTEM INTERFACE "${TERSE_NCCL_INCLUDE}"
                             /usr/local/cuda/include)
  target_link_libraries(terse_torch INTERFACE "${TERSE_TORCH_DIR}/lib/libtorch_cuda.so"
                        "${TERSE_TORCH_DIR}/lib/libc10_cuda.so")
  target_link_options(terse_torch INTERFACE "LINKER:--allow-shlib-undefined")
endif()
