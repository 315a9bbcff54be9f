#include "flux/dist/process_place.h"

#include <unistd.h>

#include <array>
#include <charconv>
#include <cstdlib>
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

/// The batch shell of a Slurm job has a job's variables and is no task of a step.
bool is_slurm_batch_shell(const Family& family) {
    return std::string_view(family.launcher) == "Slurm" && text_of("SLURM_JOB_ID") &&
           !text_of("SLURM_STEP_NUM_TASKS");
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

void read_local(const Family& family, ProcessPlace& place) {
    const auto local_rank = number_of(family.local_rank);
    const auto local_size =
        family.local_size == nullptr ? slurm_local_size() : number_of(family.local_size);
    if (local_rank && local_size && family.local_size != nullptr) {
        check_below(family.local_rank, *local_rank, family.local_size, *local_size);
    }
    if (local_size && *local_size > place.world_size) {
        fail_config(
            "environment: {}={} and {}={} contradict each other: a machine has no more "
            "processes than the job",
            family.local_size == nullptr ? "SLURM_STEP_TASKS_PER_NODE" : family.local_size,
            *local_size, family.size, place.world_size);
    }
    // Without word about machines all processes are taken to share one.
    place.local_rank = local_rank.value_or(place.rank);
    place.local_size = local_size.value_or(
        local_rank && *local_rank != place.rank ? *local_rank + 1 : place.world_size);
}

bool read_family(const Family& family, ProcessPlace& place) {
    const auto rank = number_of(family.rank);
    const auto size = number_of(family.size);
    if ((!rank && !size) || is_slurm_batch_shell(family)) {
        return false;
    }
    if (!rank || !size) {
        // A job's shell knows the number of tasks without being one of them.
        if (std::string_view(family.launcher) == "Slurm") {
            return false;
        }
        fail_config("environment: {} is set and {} is not: set both or none",
                    rank ? family.rank : family.size, rank ? family.size : family.rank);
    }
    check_below(family.rank, *rank, family.size, *size);
    if (std::string_view(family.launcher) == "Slurm") {
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
    read_local(family, place);
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
    if (place.launcher == "torchrun") {
        place.launcher_hosts_store = text_of("TORCHELASTIC_USE_AGENT_STORE") == "True";
        place.store_prefix = fmt::format("{}/{}/", text_of("TORCHELASTIC_RUN_ID").value_or(""),
                                         text_of("TORCHELASTIC_RESTART_COUNT").value_or("0"));
    }
    return place;
}

}  // namespace flux::dist
