// Which of how many processes this one is, and where they meet, as the launcher tells through the
// environment.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace flux::dist {

struct ProcessPlace {
    int rank = 0;
    int world_size = 1;
    int local_rank = 0;  // among the processes of this machine
    int local_size = 1;
    bool local_rank_told = false;  // by the launcher, not counted
    /// All machines hold as many processes, of successive ranks.
    bool even_machines = true;
    std::string launcher{};  // "torchrun", "Open MPI", "PMI", "Slurm"; empty: started by hand
    std::string host{};      // this machine's name
    /// Where rank 0 can be reached.
    std::optional<std::string> master_address{};
    std::optional<int> master_port{};
    bool launcher_hosts_store = false;  // torchrun's agent listens there itself
    bool launcher_stays = false;        // as the parent process, until the job ends
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
/// Slurm; without any, the only process. What it does not tell of this machine comes from a later
/// family with the same rank and size, else it is a guess until placed_among(). Throws ConfigError
/// naming the variables if a value is wrong or two of one family contradict each other.
ProcessPlace process_place();

/// `place` as the machines' names of all ranks, in rank order, have it. All ranks come to the same
/// local_size of a machine and even_machines, whatever their launchers told each.
ProcessPlace placed_among(ProcessPlace place, const std::vector<std::string>& hosts);

}  // namespace flux::dist
