# The helpers that every folder's CMakeLists.txt uses.

# g++ keeps in a precompiled header what templates it must still instantiate, and does so again in
# every file: three seconds each for LibTorch's, most of a whole build. Files compiled six at a time
# pay once. Sources of one library then share their unnamed namespaces: names in them differ, or the
# file is listed in terse_compile_alone.
option(TERSE_UNITY "Compile sources of a library together: faster as a whole, slower for one file" OFF)
function(terse_unity target)
  if(TERSE_UNITY)
    set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE "${TERSE_UNITY_FILES}")
  endif()
endfunction()
set(TERSE_UNITY_FILES 6 CACHE STRING "How many are compiled together; 0: all, which finds names that meet")
mark_as_advanced(TERSE_UNITY_FILES)
function(terse_compile_alone)
  set_source_files_properties(${ARGN} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
endfunction()

# terse_library(NAME [TORCH] SOURCES ... [DEPENDS ...])
# One library target per folder. TORCH: links LibTorch and reuses its precompiled header.
function(terse_library name)
  cmake_parse_arguments(A "TORCH" "" "SOURCES;DEPENDS" ${ARGN})
  if(NOT A_SOURCES)
    message(STATUS "terse_${name} has no sources yet")
    add_library(terse_${name} INTERFACE)
    return()
  endif()
  add_library(terse_${name} STATIC ${A_SOURCES})
  terse_unity(terse_${name})
  target_link_libraries(terse_${name} PUBLIC terse_flags ${A_DEPENDS})
  if(A_TORCH)
    terse_use_torch(terse_${name})
  endif()
endfunction()

function(terse_use_torch target)
  target_link_libraries(${target} PUBLIC terse::torch)
  target_precompile_headers(${target} REUSE_FROM terse_torch_pch)
  # CMake compiles programs with -fPIE; the precompiled header was made with -fPIC and only fits that.
  target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-fPIC>)
endfunction()

# terse_kernels(TARGET FILE...): compiles each file once per instruction set, with TERSE_ISA naming
# the namespace (base/isa.h picks one at run time). The files include neither torch nor OpenMP-less
# headers with inline functions that could be merged across instruction sets by the linker.
set(TERSE_AVX2_FLAGS -mavx2 -mfma -mf16c -mbmi -mbmi2 -mlzcnt -mpopcnt)
set(TERSE_AVX512_FLAGS ${TERSE_AVX2_FLAGS} -mavx512f -mavx512bw -mavx512dq -mavx512vl
    -mprefer-vector-width=512
    # g++ 12 warns inside its own avx512fintrin.h (GCC bug 105593).
    -Wno-maybe-uninitialized -Wno-uninitialized)
function(terse_kernels target)
  foreach(isa scalar avx2 avx512)
    if(isa STREQUAL "avx2")
      set(flags ${TERSE_AVX2_FLAGS})
    elseif(isa STREQUAL "avx512")
      set(flags ${TERSE_AVX512_FLAGS})
    else()
      set(flags "")
    endif()
    terse_kernel_objects(${target} ${isa} "${flags}" ${ARGN})
  endforeach()
endfunction()

# terse_bf16_kernels(TARGET FILE...): for AVX512_BF16 and AVX512_VNNI, whose instructions have no equal
# elsewhere; base/product/product.h says at run time whether the processor has them.
function(terse_bf16_kernels target)
  terse_kernel_objects(${target} avx512bf16 "${TERSE_AVX512_FLAGS};-mavx512bf16;-mavx512vnni" ${ARGN})
endfunction()

function(terse_kernel_objects target isa flags)
  set(optimize -O3)
  if(TERSE_SANITIZE)  # vectorized checks take minutes to compile
    set(optimize)
  endif()
  add_library(${target}_${isa} OBJECT ${ARGN})
  target_link_libraries(${target}_${isa} PRIVATE terse_flags)
  target_compile_definitions(${target}_${isa} PRIVATE TERSE_ISA=${isa} TERSE_ISA_${isa}=1)
  target_compile_options(${target}_${isa} PRIVATE ${optimize} ${flags})
  target_sources(${target} PRIVATE $<TARGET_OBJECTS:${target}_${isa}>)
endfunction()

# terse_cuda_kernels(TARGET FILE.cu...): compiled wherever nvcc is found, so that they never rot;
# linked only by the `cuda` preset.
function(terse_cuda_kernels target)
  if(NOT CMAKE_CUDA_COMPILER)
    return()
  endif()
  add_library(${target}_cuda OBJECT ${ARGN})
  set_target_properties(${target}_cuda PROPERTIES CUDA_ARCHITECTURES "80;90;100"
    POSITION_INDEPENDENT_CODE ON
    # nvcc's own default. CMake 3.25 knows of no C++20 in nvcc 13, and would otherwise ask for the
    # standard of the C++ files.
    CUDA_STANDARD 17)
  target_include_directories(${target}_cuda PRIVATE "${PROJECT_SOURCE_DIR}")
  if(TERSE_CUDA)
    target_sources(${target} PRIVATE $<TARGET_OBJECTS:${target}_cuda>)
    target_link_libraries(${target} PUBLIC terse::cudart)
  endif()
endfunction()

# terse_device_sources(VARIABLE): of a list of sources, keeps NAME_cuda.cc in builds with CUDA and
# NAME_none.cc, which says that there is none, in others. Only the former see CUDA's headers, so that
# everything else is compiled alike, and once for ccache, with CUDA and without.
function(terse_device_sources variable)
  set(other "_cuda\\.cc$")
  if(TERSE_CUDA)
    set(other "_none\\.cc$")
    set(own ${${variable}})
    list(FILTER own INCLUDE REGEX "_cuda\\.cc$")
    set(headers -isystem ${TERSE_NCCL_INCLUDE})
    foreach(folder ${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES})
      list(APPEND headers -isystem ${folder})
    endforeach()
    set_source_files_properties(${own} PROPERTIES COMPILE_OPTIONS "${headers}"
      COMPILE_DEFINITIONS USE_C10D_NCCL SKIP_PRECOMPILE_HEADERS ON)
  endif()
  list(FILTER ${variable} EXCLUDE REGEX "${other}")
  set(${variable} "${${variable}}" PARENT_SCOPE)
endfunction()

# terse_test(NAME [TORCH] SOURCES ... [DEPENDS ...] [RUNS ...]): one GoogleTest program per folder;
# ctest lists each case. Cases whose name contains "Slow" carry the label `slow`. RUNS: programs that
# it starts. A test with neither TORCH nor RUNS carries the label `torch_free` and belongs to the
# target of that name, which is what the sanitizers' presets build: LibTorch is not instrumented.
add_custom_target(torch_free)
function(terse_test name)
  if(NOT TERSE_TESTS)
    return()
  endif()
  cmake_parse_arguments(A "TORCH" "" "SOURCES;DEPENDS;RUNS" ${ARGN})
  if(NOT A_SOURCES)
    return()
  endif()
  add_executable(${name}_test ${A_SOURCES})
  target_link_libraries(${name}_test PRIVATE terse_flags ${A_DEPENDS} GTest::gtest GTest::gmock
                        GTest::gtest_main)
  target_compile_definitions(${name}_test PRIVATE TERSE_SOURCE_DIR="${PROJECT_SOURCE_DIR}"
                             TERSE_BINARY_DIR="${PROJECT_BINARY_DIR}")
  if(A_TORCH)
    terse_use_torch(${name}_test)
  endif()
  set(label)
  set(slow_label slow)
  if(A_RUNS)
    add_dependencies(${name}_test ${A_RUNS})
  elseif(NOT A_TORCH)
    add_dependencies(torch_free ${name}_test)
    set(label LABELS torch_free)
    set(slow_label torch_free_slow)  # gtest_discover_tests cannot pass a list; ctest -L finds both
  endif()
  # NO_PRETTY_VALUES: names are GoogleTest's, from each suite's name generator; what CMake would add,
  # the parameter as GoogleTest prints it, holds addresses.
  gtest_discover_tests(${name}_test TEST_PREFIX "${name}." DISCOVERY_TIMEOUT 60 NO_PRETTY_VALUES
    TEST_FILTER "-*Slow*" PROPERTIES TIMEOUT 300 ${label})
  gtest_discover_tests(${name}_test TEST_PREFIX "${name}." DISCOVERY_TIMEOUT 60 NO_PRETTY_VALUES
    TEST_FILTER "*Slow*" TEST_LIST ${name}_slow_tests
    PROPERTIES TIMEOUT 1200 LABELS ${slow_label} RUN_SERIAL ON)
endfunction()
