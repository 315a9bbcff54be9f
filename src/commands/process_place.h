// Which of how many processes this one is, as its launcher tells.
#pragma once

namespace flux::commands {

struct ProcessPlace {
    int rank = 0;
    int count = 1;
    int local_rank = 0;  // on this machine
};

/// From RANK, WORLD_SIZE and LOCAL_RANK (torchrun, scripts/run_preprocessing.sh), else from what
/// mpirun sets; without either, the only process. Throws ConfigError for a bad value.
ProcessPlace process_place();

}  // namespace flux::commands
