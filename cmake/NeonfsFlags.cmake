# Compiler flags for every target: warnings are errors, sanitizers by preset.
set(NEONFS_SANITIZE "" CACHE STRING "Sanitizers, as given to -fsanitize=")
set(CMAKE_C_FLAGS_RELWITHDEBINFO "-O2 -g")

add_library(neonfs_flags INTERFACE)
target_include_directories(neonfs_flags INTERFACE ${CMAKE_SOURCE_DIR})
target_compile_definitions(neonfs_flags INTERFACE _GNU_SOURCE _FILE_OFFSET_BITS=64 NEONFS_VERSION="${PROJECT_VERSION}")
target_compile_options(neonfs_flags INTERFACE
	-Wall -Wextra -Wshadow -Wvla -Wmissing-prototypes -Wstrict-prototypes -Werror -fno-strict-aliasing)
if(NEONFS_SANITIZE)
	target_compile_options(neonfs_flags INTERFACE -fsanitize=${NEONFS_SANITIZE} -fno-omit-frame-pointer)
	target_link_options(neonfs_flags INTERFACE -fsanitize=${NEONFS_SANITIZE})
endif()

# Coverage for libFuzzer in all code; only the targets of tests/fuzz link its main.
option(NEONFS_FUZZ "Build the fuzz targets (needs clang)" OFF)
if(NEONFS_FUZZ)
	target_compile_options(neonfs_flags INTERFACE -fsanitize=fuzzer-no-link -fno-sanitize-recover=undefined)
	target_link_options(neonfs_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()
