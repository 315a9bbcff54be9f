// Which of how many processes this one is, and where they meet, as the launcher tells through the
// environment.
#pragma once

#include <optional>
#include <string>

namespace flux::dist {

struct ProcessPlace {
    int rank = 0;
    int world_size = 1;
    int local_rank = 0;  // among the processes of this machine
    int local_size = 1;
    std::string launcher{};  // "torchrun", "Open MPI", "PMI", "Slurm"; empty: started by hand
    std::string host{};      // this machine's name
    /// Where rank 0 can be reached.
    std::optional<std::string> master_address{};
    std::optional<int> master_port{};
    bool launcher_hosts_store = false;  // torchrun's agent listens there itself
    std::string store_prefix{};         // keeps restarts of one launcher apart

    bool is_first() const { return rank == 0; }
    bool is_alone() const { return world_size == 1; }
    bool on_one_machine() const { return local_size == world_size; }
    /// "rank 3 on node17", for messages.
    std::string name() const;
    /// The name where there are several processes, else empty: what log lines begin with.
    std::string origin() const { return is_alone() ? "" : name(); }
};

/// The first family of variables that is set: torchrun (RANK, WORLD_SIZE, ...), Open MPI, PMI,
/// Slurm; without any, the only process. Throws ConfigError naming the variables if a value is
/// wrong or two of one family contradict each other.
ProcessPlace process_place();

}  // namespace flux::dist
