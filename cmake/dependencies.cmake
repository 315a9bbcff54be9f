# LibTorch is imported by hand: its own CMake package insists on a CUDA toolkit even where only the run-time is needed.
find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(tomlplusplus REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(JPEG REQUIRED)
find_package(PNG REQUIRED)
find_package(ZLIB REQUIRED)
find_package(GIF REQUIRED)
pkg_check_modules(webp REQUIRED IMPORTED_TARGET libwebp libwebpdemux)
pkg_check_modules(exif REQUIRED IMPORTED_TARGET libexif)
pkg_check_modules(zstd REQUIRED IMPORTED_TARGET libzstd)
pkg_check_modules(icu REQUIRED IMPORTED_TARGET icu-uc)
pkg_check_modules(sentencepiece REQUIRED IMPORTED_TARGET sentencepiece)
pkg_check_modules(curl REQUIRED IMPORTED_TARGET libcurl)

file(GLOB FLUX_SITE_PACKAGES ${CMAKE_SOURCE_DIR}/.deps/venv/lib/python3*/site-packages)
set(FLUX_TORCH_ROOT ${FLUX_SITE_PACKAGES}/torch CACHE PATH "Folder of LibTorch 2.11 (holds include/ and lib/)")
if(NOT EXISTS ${FLUX_TORCH_ROOT}/lib/libtorch_cpu.so)
    message(FATAL_ERROR "LibTorch not found in '${FLUX_TORCH_ROOT}': run scripts/setup.sh or set FLUX_TORCH_ROOT")
endif()

add_library(flux_torch INTERFACE)
add_library(flux::torch ALIAS flux_torch)
# -idirafter: LibTorch ships an fmt that must not shadow the system's.
target_compile_options(flux_torch INTERFACE
    "$<$<COMPILE_LANGUAGE:CXX>:SHELL:-idirafter ${FLUX_TORCH_ROOT}/include>"
    "$<$<COMPILE_LANGUAGE:CXX>:SHELL:-idirafter ${FLUX_TORCH_ROOT}/include/torch/csrc/api/include>")
target_link_directories(flux_torch INTERFACE ${FLUX_TORCH_ROOT}/lib)
target_link_options(flux_torch INTERFACE LINKER:-rpath,${FLUX_TORCH_ROOT}/lib)
target_link_libraries(flux_torch INTERFACE torch_cpu c10 Threads::Threads)

# LibTorch's Gloo process group includes Gloo's headers; its code is inside LibTorch, whose version is another one, so
# no type of Gloo itself may be used and its library is not linked.
find_path(FLUX_GLOO_INCLUDE gloo/context.h REQUIRED)
add_library(flux_gloo INTERFACE)
add_library(flux::gloo ALIAS flux_gloo)
target_include_directories(flux_gloo SYSTEM INTERFACE ${FLUX_GLOO_INCLUDE})
target_compile_definitions(flux_gloo INTERFACE USE_C10D_GLOO)

# Apache Arrow, with its headers, comes in the pyarrow wheel; only src/data/arrow_* uses it.
set(FLUX_ARROW_ROOT ${FLUX_SITE_PACKAGES}/pyarrow CACHE PATH "Folder of Arrow C++ 26 (holds include/ and libarrow.so.2600)")
foreach(library arrow arrow_s3 parquet)
    if(NOT EXISTS ${FLUX_ARROW_ROOT}/lib${library}.so.2600)
        message(FATAL_ERROR "Arrow not found in '${FLUX_ARROW_ROOT}': run scripts/setup.sh or set FLUX_ARROW_ROOT")
    endif()
    add_library(flux_${library} SHARED IMPORTED)
    set_target_properties(flux_${library} PROPERTIES IMPORTED_LOCATION ${FLUX_ARROW_ROOT}/lib${library}.so.2600)
    target_include_directories(flux_${library} SYSTEM INTERFACE ${FLUX_ARROW_ROOT}/include)
endforeach()
add_library(flux::arrow ALIAS flux_arrow)
add_library(flux::arrow_s3 ALIAS flux_arrow_s3)
add_library(flux::parquet ALIAS flux_parquet)

# The CUDA kernels: nvcc 13 from the host or from the wheels that scripts/setup.sh installs. Without it the build goes
# on and the kernels' CPU bodies serve.
set(FLUX_WITH_CUDA OFF)
set(FLUX_CUDA_WHEELS ${FLUX_SITE_PACKAGES}/nvidia/cu13)

# The first nvcc of version 13: an older one on the host must not hide that of the wheels.
function(flux_find_nvcc13 result)
    find_program(on_path nvcc NO_CACHE)
    foreach(candidate ${on_path} /usr/local/cuda/bin/nvcc ${FLUX_CUDA_WHEELS}/bin/nvcc)
        set(version "")
        if(EXISTS ${candidate})
            execute_process(COMMAND ${candidate} --version OUTPUT_VARIABLE version ERROR_QUIET)
        endif()
        if(version MATCHES "release 13\\.")
            set(${result} ${candidate} PARENT_SCOPE)
            return()
        endif()
    endforeach()
    set(${result} "" PARENT_SCOPE)
endfunction()

if(FLUX_CUDA)
    flux_find_nvcc13(FLUX_NVCC)
    if(FLUX_NVCC)
        set(CMAKE_CUDA_COMPILER ${FLUX_NVCC})
        set(CMAKE_CUDA_ARCHITECTURES 80 90 100)
        set(CMAKE_CUDA_STANDARD 17)  # CMake 3.25 knows no CUDA20 dialect
        enable_language(CUDA)
        set(FLUX_WITH_CUDA ON)
    endif()
endif()
if(FLUX_WITH_CUDA)
    message(STATUS "CUDA kernels: built with ${CMAKE_CUDA_COMPILER} ${CMAKE_CUDA_COMPILER_VERSION}")
else()
    message(STATUS "CUDA kernels: left out (no CUDA 13 compiler); on a GPU random draws come from the host, fused operations are not fused")
endif()

# flux_cuda_sources(<folder> <files.cu...>): adds CUDA kernels to a folder and tells its C++ files that they exist.
function(flux_cuda_sources folder)
    if(FLUX_WITH_CUDA)
        target_sources(flux_lib_${folder} PRIVATE ${ARGN})
        target_compile_definitions(flux_lib_${folder} PRIVATE FLUX_WITH_CUDA)
        target_include_directories(flux_lib_${folder} SYSTEM PRIVATE ${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES})
        target_link_libraries(flux_lib_${folder} PUBLIC c10_cuda)
    endif()
endfunction()
