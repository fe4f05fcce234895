# `cmake --install build/release --prefix P`: the program (component `program`), and for
# find_package(terse) the libraries that DataParallel stands on, with their headers (component
# `library`). Tests, the trainer and the command line are no library.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(package "${CMAKE_INSTALL_LIBDIR}/cmake/terse")

# What `target` links of terse, itself first.
function(terse_linked target out)
  set(found ${target})
  get_target_property(type ${target} TYPE)
  set(property LINK_LIBRARIES)
  if(type STREQUAL "INTERFACE_LIBRARY")
    set(property INTERFACE_LINK_LIBRARIES)
  endif()
  get_target_property(links ${target} ${property})
  foreach(link ${links})
    if(link MATCHES "^terse_" AND TARGET ${link})
      terse_linked(${link} more)
      list(APPEND found ${more})
    endif()
  endforeach()
  list(REMOVE_DUPLICATES found)
  set(${out} ${found} PARENT_SCOPE)
endfunction()
terse_linked(terse_data_parallel libraries)
list(REMOVE_ITEM libraries terse_flags)

# What a program links: terse::terse.
add_library(terse_all INTERFACE)
set_target_properties(terse_all PROPERTIES EXPORT_NAME terse)
set_target_properties(terse_flags PROPERTIES EXPORT_NAME flags)
target_link_libraries(terse_all INTERFACE terse_data_parallel)
foreach(library ${libraries})
  string(REPLACE terse_ "" exported ${library})
  set_target_properties(${library} PROPERTIES EXPORT_NAME ${exported})
endforeach()
# Headers name each other from the root ("comm/group.h"); programs write <terse/comm/group.h>.
target_include_directories(terse_flags INTERFACE
  "$<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>"
  "$<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}/terse>")
target_compile_features(terse_flags INTERFACE $<INSTALL_INTERFACE:cxx_std_20>)

install(TARGETS terse_flags ${libraries} terse_all EXPORT terseTargets
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT library)
install(EXPORT terseTargets NAMESPACE terse:: DESTINATION ${package} COMPONENT library)
foreach(folder base launch comm export optim parallel trainer/checkpoint)
  install(DIRECTORY "${PROJECT_SOURCE_DIR}/${folder}/"
          DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/terse/${folder} COMPONENT library
          FILES_MATCHING PATTERN "*.h" PATTERN product EXCLUDE)
endforeach()

install(FILES "${PROJECT_SOURCE_DIR}/qat/codes.h"  # what export/ speaks of
        DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/terse/qat COMPONENT library)

file(STRINGS "${TERSE_TORCH_DIR}/version.py" version REGEX "^__version__")
string(REGEX REPLACE ".*'([^']+)'.*" "\\1" TERSE_TORCH_VERSION "${version}")
configure_package_config_file("${CMAKE_CURRENT_LIST_DIR}/terseConfig.cmake.in"
  "${PROJECT_BINARY_DIR}/terseConfig.cmake" INSTALL_DESTINATION ${package})
write_basic_package_version_file("${PROJECT_BINARY_DIR}/terseConfigVersion.cmake"
                                 COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/terseConfig.cmake" "${PROJECT_BINARY_DIR}/terseConfigVersion.cmake"
        "${CMAKE_CURRENT_LIST_DIR}/FindTerseTorch.cmake" DESTINATION ${package} COMPONENT library)
if(TARGET terse)
  install(TARGETS terse RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT program)
endif()
