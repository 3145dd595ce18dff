# How weft's own code is compiled. `weft_settings` holds what the library, the tests and the
# benchmarks share; it is never exported, so that no consumer gets a warning flag from here.

if(PROJECT_IS_TOP_LEVEL AND NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
    set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()

add_library(weft_settings INTERFACE)
target_compile_features(weft_settings INTERFACE cxx_std_20)
target_compile_options(
    weft_settings
    INTERFACE
        -Wall
        -Wextra
        -Wshadow
        -Wnon-virtual-dtor
        -Wold-style-cast
        -Woverloaded-virtual
        -Wcast-align
        -Wimplicit-fallthrough
        -Wundef
        -Wvla
        -fno-omit-frame-pointer
        $<$<CXX_COMPILER_ID:GNU>:-Wduplicated-cond;-Wlogical-op;-Wno-interference-size>
        $<$<CXX_COMPILER_ID:Clang>:-Wthread-safety;-Wextra-semi>
        $<$<BOOL:${WEFT_WERROR}>:-Werror>
        # Each g++ guesses differently here: 14 warns of a slot that is read only if it was filled.
        $<$<CXX_COMPILER_ID:GNU>:-Wno-error=maybe-uninitialized>
)

if(WEFT_FORCE_MIGRATE STREQUAL "AUTO")
    if(WEFT_SANITIZE)
        set(weft_force_migrate 1)
    else()
        set(weft_force_migrate $<CONFIG:Debug>)
    endif()
else()
    set(weft_force_migrate $<BOOL:${WEFT_FORCE_MIGRATE}>)
endif()
target_compile_definitions(weft_settings INTERFACE $<${weft_force_migrate}:WEFT_FORCE_MIGRATE=1>)

# A sanitizer is a property of a whole program, so it is set for the directory and for all below.
if(WEFT_SANITIZE)
    add_compile_options(-fsanitize=${WEFT_SANITIZE} -fno-sanitize-recover=all)
    # g++ sees the sanitizer's own code between a variable and its first use, and warns of std::stop_source.
    add_compile_options($<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
    add_link_options(-fsanitize=${WEFT_SANITIZE})
endif()
