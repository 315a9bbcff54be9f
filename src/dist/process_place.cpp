#include "flux/dist/process_place.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>
#include <map>
#include <string_view>

#include "flux/base/error.h"

namespace flux::dist {
namespace {

/// The variables of one launcher; null: it has none for that.
struct Family {
    const char* launcher;
    const char* rank;
    const char* size;
    const char* local_rank;
    const char* local_size;
};

constexpr std::array kFamilies{
    Family{"torchrun", "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"},
    Family{"Open MPI", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK",
           "OMPI_COMM_WORLD_LOCAL_SIZE"},
    Family{"PMI", "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"},
    Family{"PMI", "PMI_RANK", "PMI_SIZE", "PMI_LOCAL_RANK", "PMI_LOCAL_SIZE"},
    Family{"Slurm", "SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", nullptr},
};

std::optional<std::string> text_of(const char* name) {
    const char* text = name == nullptr ? nullptr : std::getenv(name);
    return text == nullptr ? std::nullopt : std::optional<std::string>(text);
}

std::optional<int> number_of(const char* name, int most = 1'000'000) {
    const auto text = text_of(name);
    if (!text) {
        return std::nullopt;
    }
    int value = 0;
    const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
    if (error != std::errc() || end != text->data() + text->size() || value < 0 || value > most) {
        fail_config("environment: {}={}: must be a whole number from 0 to {}", name, *text, most);
    }
    return value;
}

bool is_slurm(const Family& family) { return std::string_view(family.launcher) == "Slurm"; }

/// The batch shell of a Slurm job has a job's variables and is no task of a step.
bool is_slurm_batch_shell(const Family& family) {
    return is_slurm(family) && text_of("SLURM_JOB_ID") && !text_of("SLURM_STEP_NUM_TASKS");
}

void check_below(const char* name, int value, const char* limit_name, int limit) {
    if (value >= limit) {
        fail_config(
            "environment: {}={} and {}={} contradict each other: the first must be below "
            "the second",
            name, value, limit_name, limit);
    }
}

/// Tasks of this node: the first number of "2(x3)" or "2" that all nodes share, else unknown.
std::optional<int> slurm_local_size() {
    const auto text = text_of("SLURM_STEP_TASKS_PER_NODE");
    if (!text) {
        return std::nullopt;
    }
    int value = 0;
    const char* const last = text->data() + text->size();
    const auto [end, error] = std::from_chars(text->data(), last, value);
    const bool same_everywhere = end == last || (*end == '(' && text->find(',') == text->npos);
    return error == std::errc() && same_everywhere ? std::optional(value) : std::nullopt;
}

/// What a family tells of this machine.
struct Local {
    std::optional<int> rank;
    std::optional<int> size;
};

Local read_local(const Family& family, int world_size) {
    const auto local_rank = number_of(family.local_rank);
    const auto local_size = is_slurm(family) ? slurm_local_size() : number_of(family.local_size);
    if (local_rank && local_size && !is_slurm(family)) {
        check_below(family.local_rank, *local_rank, family.local_size, *local_size);
    }
    if (local_size && *local_size > world_size) {
        fail_config(
            "environment: {}={} and {}={} contradict each other: a machine has no more "
            "processes than the job",
            is_slurm(family) ? "SLURM_STEP_TASKS_PER_NODE" : family.local_size, *local_size,
            family.size, world_size);
    }
    return {local_rank, local_size};
}

/// `srun` with MPI support of its own sets PMI's rank and size alone, and users set RANK and
/// WORLD_SIZE from Slurm's: families that agree on those add to each other.
void find_local(const Family* family, ProcessPlace& place) {
    Local known = read_local(*family, place.world_size);
    for (++family; family != kFamilies.end() && !(known.rank && known.size); ++family) {
        if (number_of(family->rank) != place.rank || number_of(family->size) != place.world_size ||
            is_slurm_batch_shell(*family)) {
            continue;
        }
        const Local more = read_local(*family, place.world_size);
        known.rank = known.rank ? known.rank : more.rank;
        known.size = known.size ? known.size : more.size;
    }
    place.local_rank_told = known.rank.has_value();
    // Without word about machines all processes are taken to share one.
    place.local_rank = known.rank.value_or(place.rank);
    place.local_size = known.size.value_or(
        known.rank && *known.rank != place.rank ? *known.rank + 1 : place.world_size);
}

bool read_family(const Family& family, ProcessPlace& place) {
    const auto rank = number_of(family.rank);
    const auto size = number_of(family.size);
    if ((!rank && !size) || is_slurm_batch_shell(family)) {
        return false;
    }
    if (!rank || !size) {
        // A job's shell knows the number of tasks without being one of them.
        if (is_slurm(family)) {
            return false;
        }
        fail_config("environment: {} is set and {} is not: set both or none",
                    rank ? family.rank : family.size, rank ? family.size : family.rank);
    }
    check_below(family.rank, *rank, family.size, *size);
    if (is_slurm(family)) {
        if (const auto tasks = number_of("SLURM_STEP_NUM_TASKS"); tasks && *tasks != *size) {
            fail_config(
                "environment: SLURM_STEP_NUM_TASKS={} and SLURM_NTASKS={} contradict each "
                "other: start the step with as many tasks as the job has",
                *tasks, *size);
        }
    }
    place.rank = *rank;
    place.world_size = *size;
    place.launcher = family.launcher;
    find_local(&family, place);
    return true;
}

std::string host_name() {
    std::array<char, 256> name{};
    return ::gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "unknown host";
}

}  // namespace

std::string ProcessPlace::name() const { return fmt::format("rank {} on {}", rank, host); }

ProcessPlace process_place() {
    ProcessPlace place;
    place.host = host_name();
    for (const Family& family : kFamilies) {
        if (read_family(family, place)) {
            break;
        }
    }
    place.master_address = text_of("MASTER_ADDR");
    place.master_port = number_of("MASTER_PORT", 65535);
    // RANK and WORLD_SIZE are also set by hand, and the shell that did so may leave.
    place.launcher_stays =
        !place.launcher.empty() && (place.launcher != "torchrun" || text_of("TORCHELASTIC_RUN_ID"));
    if (place.launcher == "torchrun") {
        place.launcher_hosts_store = text_of("TORCHELASTIC_USE_AGENT_STORE") == "True";
        place.store_prefix = fmt::format("{}/{}/", text_of("TORCHELASTIC_RUN_ID").value_or(""),
                                         text_of("TORCHELASTIC_RESTART_COUNT").value_or("0"));
    }
    return place;
}

ProcessPlace placed_among(ProcessPlace place, const std::vector<std::string>& hosts) {
    std::map<std::string, int> processes;
    for (const std::string& host : hosts) {
        ++processes[host];
    }
    const auto self = hosts.begin() + place.rank;
    place.local_size = processes[*self];
    if (!place.local_rank_told) {
        place.local_rank = static_cast<int>(std::count(hosts.begin(), self, *self));
    }
    const auto each = static_cast<size_t>(place.local_size);
    place.even_machines = true;
    for (size_t rank = 0; rank < hosts.size(); ++rank) {
        place.even_machines = place.even_machines && processes[hosts[rank]] == place.local_size &&
                              hosts[rank] == hosts[rank - rank % each];
    }
    return place;
}

}  // namespace flux::dist
