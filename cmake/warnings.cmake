add_library(flux_warnings INTERFACE)
target_compile_options(flux_warnings INTERFACE
    $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wshadow -Werror>)
