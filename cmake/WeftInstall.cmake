# `cmake --install`: headers, libraries, a CMake package and a pkg-config file.

include(CMakePackageConfigHelpers)

set(cmake_dir ${CMAKE_INSTALL_LIBDIR}/cmake/weft)
set(targets weft)
if(TARGET weft_main)
    list(APPEND targets weft_main)
endif()

if(TARGET weft_mutex_check)
    list(APPEND targets weft_mutex_check)
endif()

install(
    TARGETS ${targets}
    EXPORT weft-targets
    ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
    LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
    OBJECTS DESTINATION ${CMAKE_INSTALL_LIBDIR}/weft
    RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR}
    FILE_SET runtime_headers DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
    FILE_SET api_headers DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
)
install(EXPORT weft-targets NAMESPACE weft:: DESTINATION ${cmake_dir})

configure_package_config_file(
    ${CMAKE_CURRENT_LIST_DIR}/weft-config.cmake.in
    ${PROJECT_BINARY_DIR}/weft-config.cmake
    INSTALL_DESTINATION ${cmake_dir}
)
write_basic_package_version_file(
    ${PROJECT_BINARY_DIR}/weft-config-version.cmake COMPATIBILITY SameMinorVersion
)
install(
    FILES ${PROJECT_BINARY_DIR}/weft-config.cmake ${PROJECT_BINARY_DIR}/weft-config-version.cmake
    DESTINATION ${cmake_dir}
)

# Where libweft is static, whoever links it needs what it is made of; pkg-config has no other way
# to say so than to list it for everybody.
set(pc_main "")
if(TARGET weft_main)
    set(pc_main "-lweft_main -Wl,--wrap=main,--undefined=main ")
endif()
set(pc_others "-lboost_context")
if(weft_uring_library)
    string(APPEND pc_others " -l${weft_uring_library}")
endif()
if(BUILD_SHARED_LIBS)
    set(pc_private ".private")
    set(pc_libs "")
    set(pc_libs_private "${pc_others}")
else()
    set(pc_private "")
    set(pc_libs " ${pc_others}")
    set(pc_libs_private "")
endif()
set(pc_dir ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
cmake_path(RELATIVE_PATH CMAKE_INSTALL_PREFIX
    BASE_DIRECTORY ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig
    OUTPUT_VARIABLE pc_to_prefix
)
configure_file(${CMAKE_CURRENT_LIST_DIR}/weft.pc.in ${PROJECT_BINARY_DIR}/weft.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/weft.pc DESTINATION ${pc_dir})
