# One static library a folder, chained in the order of FLUX_FOLDERS, so that a use of a later folder fails to link.
add_library(flux_all INTERFACE)
add_library(flux::all ALIAS flux_all)
set_property(GLOBAL PROPERTY flux_last_folder "")

# flux_folder(<name> SOURCES <files...> [LINKS <targets...>])
function(flux_folder name)
    cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;LINKS")
    set(target flux_lib_${name})
    add_library(${target} STATIC ${arg_SOURCES})
    target_include_directories(${target} PUBLIC ${CMAKE_SOURCE_DIR}/include PRIVATE ${CMAKE_SOURCE_DIR}/src)
    get_property(previous GLOBAL PROPERTY flux_last_folder)
    target_link_libraries(${target} PUBLIC ${previous} fmt::fmt flux::torch PRIVATE ${arg_LINKS} flux_warnings)
    target_link_libraries(flux_all INTERFACE ${target})
    set_property(GLOBAL PROPERTY flux_last_folder ${target})
endfunction()

# flux_tests(<folder> SOURCES <files...> [LINKS ...])
# One test program a folder. Suites whose name begins with Parity get the label `parity`, with Run the label `run`, with
# Gpu the label `gpu`, with Dist (several processes) the label `dist`, all others `unit`. Each test is one process with one OpenMP thread, so that `ctest -j` does not oversubscribe.
function(flux_tests name)
    cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;LINKS")
    set(target ${name}_test)
    add_executable(${target} ${arg_SOURCES})
    target_include_directories(${target} PRIVATE ${CMAKE_SOURCE_DIR}/tests ${CMAKE_SOURCE_DIR}/src)
    if(TARGET flux_lib_${name})
        target_link_libraries(${target} PRIVATE flux_lib_${name})
    else()
        target_link_libraries(${target} PRIVATE flux::all)
    endif()
    target_link_libraries(${target} PRIVATE flux_test_support flux_test_main ${arg_LINKS} flux_warnings GTest::gtest
        GTest::gmock)
    target_compile_definitions(${target} PRIVATE
        FLUX_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
    foreach(label unit parity run dist gpu)
        set(filter_unit "-Parity*:*/Parity*:Run*:*/Run*:Dist*:*/Dist*:Gpu*")
        set(filter_parity "Parity*:*/Parity*")
        set(filter_run "Run*:*/Run*")
        set(filter_dist "Dist*:*/Dist*")
        set(filter_gpu "Gpu*")
        gtest_discover_tests(${target}
            NO_PRETTY_VALUES TEST_FILTER "${filter_${label}}" TEST_LIST ${target}_${label} DISCOVERY_TIMEOUT 60
            DISCOVERY_MODE PRE_TEST
            PROPERTIES LABELS ${label} TIMEOUT 900 SKIP_REGULAR_EXPRESSION "SKIPPED" ENVIRONMENT "OMP_NUM_THREADS=1")
    endforeach()
endfunction()
