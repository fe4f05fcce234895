# Finds PyPI's torch wheel and defines terse::torch. Caffe2's own CMake files demand a CUDA toolkit
# even for the CPU, hence this file. A CPU binary needs libtorch_cpu, libc10, the CUDA runtime and
# CUPTI (both are NEEDED by libtorch_cpu); only the `cuda` preset links libtorch_cuda. Installed beside
# terseConfig.cmake, so that a program finds the torch that the libraries were built with.
set(TERSE_VENV "${PROJECT_SOURCE_DIR}/.venv" CACHE PATH "Virtual environment that holds torch")
file(GLOB _site LIST_DIRECTORIES true "${TERSE_VENV}/lib/python3*/site-packages")
set(TERSE_TORCH_DIR "${_site}/torch" CACHE PATH "The torch package's folder")
if(NOT EXISTS "${TERSE_TORCH_DIR}/lib/libtorch_cpu.so")
  message(FATAL_ERROR "torch is not at '${TERSE_TORCH_DIR}'. Run scripts/setup, or set "
                      "-DTERSE_TORCH_DIR=<site-packages>/torch")
endif()
get_filename_component(_packages "${TERSE_TORCH_DIR}" DIRECTORY)

# The headers of .venv where it has the same wheel: ccache then shares objects between presets.
set(_headers "${TERSE_TORCH_DIR}")
file(GLOB _default "${PROJECT_SOURCE_DIR}/.venv/lib/python3*/site-packages/torch")
if(EXISTS "${_default}/version.py")
  file(STRINGS "${_default}/version.py" _ours REGEX "^__version__")
  file(STRINGS "${TERSE_TORCH_DIR}/version.py" _theirs REGEX "^__version__")
  if(_ours STREQUAL _theirs)
    set(_headers "${_default}")
  endif()
endif()
find_library(TERSE_CUDART NAMES libcudart.so.13 cudart
             HINTS "${_packages}/nvidia/cu13/lib" /usr/local/cuda/lib64 REQUIRED)
find_library(TERSE_CUPTI NAMES libcupti.so.13 cupti
             HINTS "${_packages}/nvidia/cu13/lib" /usr/local/cuda/lib64
             /usr/local/cuda/extras/CUPTI/lib64 REQUIRED)
get_filename_component(_cuda_lib_dir "${TERSE_CUDART}" DIRECTORY)

add_library(terse::torch INTERFACE IMPORTED GLOBAL)
target_include_directories(terse::torch SYSTEM INTERFACE
  "${_headers}/include" "${_headers}/include/torch/csrc/api/include")
# The wheel's include folder brings a fmt of its own (found before the system's) without its library.
target_compile_definitions(terse::torch INTERFACE USE_C10D_GLOO FMT_HEADER_ONLY)
target_link_libraries(terse::torch INTERFACE
  "${TERSE_TORCH_DIR}/lib/libtorch_cpu.so" "${TERSE_TORCH_DIR}/lib/libc10.so"
  "${TERSE_CUDART}" "${TERSE_CUPTI}")
# DT_RPATH, not RUNPATH: libtorch_cpu's own dependencies (libgomp above all) must resolve to the
# wheel's copies, or two OpenMP runtimes fight over the cores.
target_link_options(terse::torch INTERFACE
  "LINKER:--disable-new-dtags,-rpath,${TERSE_TORCH_DIR}/lib:${_cuda_lib_dir}")
find_path(TERSE_GLOO_INCLUDE gloo/algorithm.h REQUIRED)

if(TERSE_CUDA)
  # The CUDA runtime that libtorch_cuda uses: a second one, linked statically, would have its own
  # idea of the current device.
  add_library(terse::cudart INTERFACE IMPORTED GLOBAL)
  target_link_libraries(terse::cudart INTERFACE "${TERSE_CUDART}")
  target_link_options(terse::cudart INTERFACE "LINKER:--disable-new-dtags,-rpath,${_cuda_lib_dir}")
  find_path(TERSE_NCCL_INCLUDE nccl.h HINTS "${_packages}/nvidia/nccl/include"
            /usr/local/cuda/include REQUIRED)
  target_link_libraries(terse::torch INTERFACE terse::cudart "${TERSE_TORCH_DIR}/lib/libtorch_cuda.so"
                        "${TERSE_TORCH_DIR}/lib/libc10_cuda.so")
  # Nothing but tests may name a symbol of libtorch_cuda, yet loading it registers the device.
  target_link_options(terse::torch INTERFACE "LINKER:--allow-shlib-undefined,--no-as-needed")
endif()
