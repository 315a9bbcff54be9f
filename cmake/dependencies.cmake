# LibTorch is imported by hand: its own CMake package insists on a CUDA toolkit even where only the run-time is needed.
find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(CLI11 REQUIRED)
find_package(tomlplusplus REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(JPEG REQUIRED)
find_package(PNG REQUIRED)
find_package(GIF REQUIRED)
pkg_check_modules(webp REQUIRED IMPORTED_TARGET libwebp libwebpdemux)
pkg_check_modules(exif REQUIRED IMPORTED_TARGET libexif)
pkg_check_modules(zstd REQUIRED IMPORTED_TARGET libzstd)

file(GLOB FLUX_SITE_PACKAGES ${CMAKE_SOURCE_DIR}/.deps/venv/lib/python3*/site-packages)
set(FLUX_TORCH_ROOT ${FLUX_SITE_PACKAGES}/torch CACHE PATH "Folder of LibTorch 2.11 (holds include/ and lib/)")
if(NOT EXISTS ${FLUX_TORCH_ROOT}/lib/libtorch_cpu.so)
    message(FATAL_ERROR "LibTorch not found in '${FLUX_TORCH_ROOT}': run scripts/setup.sh or set FLUX_TORCH_ROOT")
endif()

add_library(flux_torch INTERFACE)
add_library(flux::torch ALIAS flux_torch)
# -idirafter: LibTorch ships an fmt that must not shadow the system's.
target_compile_options(flux_torch INTERFACE
    "SHELL:-idirafter ${FLUX_TORCH_ROOT}/include"
    "SHELL:-idirafter ${FLUX_TORCH_ROOT}/include/torch/csrc/api/include")
target_link_directories(flux_torch INTERFACE ${FLUX_TORCH_ROOT}/lib)
target_link_options(flux_torch INTERFACE LINKER:-rpath,${FLUX_TORCH_ROOT}/lib)
target_link_libraries(flux_torch INTERFACE torch_cpu c10 Threads::Threads)
