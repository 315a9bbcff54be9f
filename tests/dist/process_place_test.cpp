#include "flux/dist/process_place.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <initializer_list>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "flux/base/error.h"
#include "flux/dist/mesh.h"
#include "support/problem.h"

namespace flux::dist {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr const char* kAll[] = {"RANK",
                                "WORLD_SIZE",
                                "LOCAL_RANK",
                                "LOCAL_WORLD_SIZE",
                                "MASTER_ADDR",
                                "MASTER_PORT",
                                "OMPI_COMM_WORLD_RANK",
                                "OMPI_COMM_WORLD_SIZE",
                                "OMPI_COMM_WORLD_LOCAL_RANK",
                                "OMPI_COMM_WORLD_LOCAL_SIZE",
                                "PMI_RANK",
                                "PMI_SIZE",
                                "MPI_LOCALRANKID",
                                "MPI_LOCALNRANKS",
                                "PMI_LOCAL_RANK",
                                "PMI_LOCAL_SIZE",
                                "SLURM_PROCID",
                                "SLURM_NTASKS",
                                "SLURM_LOCALID",
                                "SLURM_JOB_ID",
                                "SLURM_STEP_NUM_TASKS",
                                "SLURM_STEP_TASKS_PER_NODE",
                                "TORCHELASTIC_USE_AGENT_STORE",
                                "TORCHELASTIC_RUN_ID",
                                "TORCHELASTIC_RESTART_COUNT"};

struct Variable {
    const char* name;
    const char* value;
};

ProcessPlace place_of(std::initializer_list<Variable> variables) {
    for (const char* name : kAll) {
        ::unsetenv(name);
    }
    for (const Variable& variable : variables) {
        ::setenv(variable.name, variable.value, 1);
    }
    return process_place();
}

std::string message_of(std::initializer_list<Variable> variables) {
    return test::problem_of<ConfigError>([&] { place_of(variables); });
}

TEST(ProcessPlace, AloneWithoutALauncher) {
    const ProcessPlace place = place_of({});
    EXPECT_TRUE(place.is_alone());
    EXPECT_TRUE(place.on_one_machine());
    EXPECT_EQ(place.launcher, "");
}

TEST(ProcessPlace, ReadsEveryLauncher) {
    ProcessPlace place = place_of({{"RANK", "3"},
                                   {"WORLD_SIZE", "4"},
                                   {"LOCAL_RANK", "1"},
                                   {"LOCAL_WORLD_SIZE", "2"},
                                   {"MASTER_ADDR", "node0"},
                                   {"MASTER_PORT", "1234"},
                                   {"TORCHELASTIC_USE_AGENT_STORE", "True"}});
    EXPECT_EQ(place.launcher, "torchrun");
    EXPECT_EQ(place.rank, 3);
    EXPECT_EQ(place.local_rank, 1);
    EXPECT_EQ(place.local_size, 2);
    EXPECT_FALSE(place.on_one_machine());
    EXPECT_EQ(place.master_address, "node0");
    EXPECT_EQ(place.master_port, 1234);
    EXPECT_TRUE(place.launcher_hosts_store);

    place = place_of({{"OMPI_COMM_WORLD_RANK", "1"},
                      {"OMPI_COMM_WORLD_SIZE", "2"},
                      {"OMPI_COMM_WORLD_LOCAL_RANK", "1"},
                      {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"}});
    EXPECT_EQ(place.launcher, "Open MPI");
    EXPECT_EQ(place.rank, 1);
    EXPECT_FALSE(place.launcher_hosts_store);

    place = place_of({{"PMI_RANK", "1"}, {"PMI_SIZE", "2"}});
    EXPECT_EQ(place.launcher, "PMI");

    place = place_of({{"SLURM_PROCID", "2"},
                      {"SLURM_NTASKS", "4"},
                      {"SLURM_LOCALID", "0"},
                      {"SLURM_STEP_TASKS_PER_NODE", "2(x2)"}});
    EXPECT_EQ(place.launcher, "Slurm");
    EXPECT_EQ(place.rank, 2);
    EXPECT_EQ(place.local_rank, 0);
    EXPECT_EQ(place.local_size, 2);
}

TEST(ProcessPlace, TheFirstLauncherCounts) {
    const ProcessPlace place = place_of(
        {{"RANK", "1"}, {"WORLD_SIZE", "2"}, {"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "1"}});
    EXPECT_EQ(place.launcher, "torchrun");
    EXPECT_EQ(place.world_size, 2);
}

TEST(ProcessPlace, ALaterLauncherAddsWhatTheFirstLeavesOut) {
    // srun --mpi=pmi2, second of two nodes with eight processes each.
    ProcessPlace place = place_of({{"PMI_RANK", "11"},
                                   {"PMI_SIZE", "16"},
                                   {"SLURM_JOB_ID", "7"},
                                   {"SLURM_PROCID", "11"},
                                   {"SLURM_NTASKS", "16"},
                                   {"SLURM_LOCALID", "3"},
                                   {"SLURM_STEP_NUM_TASKS", "16"},
                                   {"SLURM_STEP_TASKS_PER_NODE", "8(x2)"}});
    EXPECT_EQ(place.launcher, "PMI");
    EXPECT_EQ(place.rank, 11);
    EXPECT_EQ(place.local_rank, 3);
    EXPECT_EQ(place.local_size, 8);
    EXPECT_TRUE(place.local_rank_told);
    EXPECT_FALSE(place.on_one_machine());

    place = place_of({{"RANK", "3"},
                      {"WORLD_SIZE", "4"},
                      {"LOCAL_WORLD_SIZE", "2"},
                      {"PMI_RANK", "3"},
                      {"PMI_SIZE", "4"},
                      {"PMI_LOCAL_RANK", "1"},
                      {"PMI_LOCAL_SIZE", "4"}});
    EXPECT_EQ(place.launcher, "torchrun");
    EXPECT_EQ(place.local_rank, 1);
    EXPECT_EQ(place.local_size, 2);
}

TEST(ProcessPlace, ALauncherOfAnotherJobAddsNothing) {
    // A process of its own job, started by hand within a task of a Slurm step.
    const ProcessPlace place = place_of({{"RANK", "1"},
                                         {"WORLD_SIZE", "2"},
                                         {"SLURM_PROCID", "5"},
                                         {"SLURM_NTASKS", "8"},
                                         {"SLURM_LOCALID", "5"},
                                         {"SLURM_STEP_TASKS_PER_NODE", "8"}});
    EXPECT_EQ(place.local_rank, 1);
    EXPECT_EQ(place.local_size, 2);
    EXPECT_FALSE(place.local_rank_told);
}

TEST(ProcessPlace, KnowsWhichLaunchersStay) {
    const Variable rank{"RANK", "1"}, size{"WORLD_SIZE", "2"};
    EXPECT_FALSE(place_of({}).launcher_stays);
    EXPECT_FALSE(place_of({rank, size}).launcher_stays);
    EXPECT_TRUE(place_of({rank, size, {"TORCHELASTIC_RUN_ID", "none"}}).launcher_stays);
    EXPECT_TRUE(
        place_of({{"OMPI_COMM_WORLD_RANK", "0"}, {"OMPI_COMM_WORLD_SIZE", "2"}}).launcher_stays);
    EXPECT_TRUE(place_of({{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "2"}}).launcher_stays);
}

TEST(ProcessPlace, TheShellOfASlurmJobIsNoTask) {
    EXPECT_TRUE(
        place_of({{"SLURM_JOB_ID", "7"}, {"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "4"}}).is_alone());
    EXPECT_TRUE(place_of({{"SLURM_JOB_ID", "7"}, {"SLURM_NTASKS", "4"}}).is_alone());
}

TEST(ProcessPlace, ContradictionsNameBothVariables) {
    EXPECT_THAT(message_of({{"RANK", "2"}, {"WORLD_SIZE", "2"}}),
                AllOf(HasSubstr("RANK=2"), HasSubstr("WORLD_SIZE=2")));
    EXPECT_THAT(message_of({{"RANK", "0"}}), AllOf(HasSubstr("RANK"), HasSubstr("WORLD_SIZE")));
    EXPECT_THAT(message_of({{"RANK", "x"}, {"WORLD_SIZE", "2"}}), HasSubstr("RANK=x"));
    EXPECT_THAT(
        message_of(
            {{"RANK", "0"}, {"WORLD_SIZE", "2"}, {"LOCAL_RANK", "2"}, {"LOCAL_WORLD_SIZE", "2"}}),
        AllOf(HasSubstr("LOCAL_RANK=2"), HasSubstr("LOCAL_WORLD_SIZE=2")));
    EXPECT_THAT(
        message_of({{"OMPI_COMM_WORLD_RANK", "0"},
                    {"OMPI_COMM_WORLD_SIZE", "2"},
                    {"OMPI_COMM_WORLD_LOCAL_SIZE", "4"}}),
        AllOf(HasSubstr("OMPI_COMM_WORLD_LOCAL_SIZE=4"), HasSubstr("OMPI_COMM_WORLD_SIZE=2")));
    EXPECT_THAT(
        message_of({{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "4"}, {"SLURM_STEP_NUM_TASKS", "2"}}),
        AllOf(HasSubstr("SLURM_NTASKS=4"), HasSubstr("SLURM_STEP_NUM_TASKS=2")));
    EXPECT_THAT(message_of({{"RANK", "0"}, {"WORLD_SIZE", "2"}, {"MASTER_PORT", "99999"}}),
                HasSubstr("MASTER_PORT=99999"));
}

ProcessPlace machines(int world, int local) {
    ProcessPlace place;
    place.world_size = world;
    place.local_size = local;
    return place;
}

config::Parallelism degrees(int64_t replicate, int64_t shard) {
    config::Parallelism settings;
    settings.data_parallel_replicate_degree = replicate;
    settings.data_parallel_shard_degree = shard;
    return settings;
}

TEST(MeshShape, ReplicatesAcrossMachinesUnlessToldOtherwise) {
    MeshShape shape = mesh_shape({}, false, machines(16, 8));
    EXPECT_EQ(shape.replicate, 2);
    EXPECT_EQ(shape.shard, 8);
    shape = mesh_shape({}, false, machines(4, 4));
    EXPECT_EQ(shape.replicate, 1);
    EXPECT_EQ(shape.shard, 4);
    shape = mesh_shape(degrees(1, -1), true, machines(16, 8));
    EXPECT_EQ(shape.replicate, 1);
    EXPECT_EQ(shape.shard, 16);
    shape = mesh_shape(degrees(4, -1), true, machines(8, 8));
    EXPECT_EQ(shape.replicate, 4);
    EXPECT_EQ(shape.shard, 2);
}

std::vector<std::string> hosts(std::initializer_list<std::pair<const char*, int>> blocks) {
    std::vector<std::string> names;
    for (const auto& [name, processes] : blocks) {
        names.insert(names.end(), static_cast<size_t>(processes), name);
    }
    return names;
}

ProcessPlace placed(int rank, const std::vector<std::string>& names) {
    ProcessPlace place;
    place.rank = place.local_rank = rank;
    place.world_size = place.local_size = static_cast<int>(names.size());
    place.host = names[static_cast<size_t>(rank)];
    return placed_among(place, names);
}

TEST(PlacedAmong, CountsTheProcessesOfAMachine) {
    const auto names = hosts({{"a", 8}, {"b", 8}});
    const ProcessPlace place = placed(11, names);
    EXPECT_EQ(place.local_rank, 3);
    EXPECT_EQ(place.local_size, 8);
    EXPECT_TRUE(place.even_machines);
    EXPECT_EQ(placed(0, hosts({{"a", 1}, {"b", 1}})).local_rank, 0);
    ProcessPlace told;
    told.rank = 11;
    told.local_rank = 5;
    told.local_rank_told = true;
    EXPECT_EQ(placed_among(told, names).local_rank, 5);
}

TEST(PlacedAmong, AllRanksComeToOneMesh) {
    const auto shape_of = [](const std::vector<std::string>& names) {
        std::set<std::pair<int, int>> shapes;
        for (int rank = 0; rank < static_cast<int>(names.size()); ++rank) {
            const MeshShape shape = mesh_shape({}, false, placed(rank, names));
            shapes.emplace(shape.replicate, shape.shard);
        }
        EXPECT_EQ(shapes.size(), 1U);
        return *shapes.begin();
    };
    EXPECT_EQ(shape_of(hosts({{"a", 8}, {"b", 8}})), std::pair(2, 8));
    EXPECT_EQ(shape_of(hosts({{"a", 8}})), std::pair(1, 8));
    EXPECT_EQ(shape_of(hosts({{"a", 8}, {"b", 4}})), std::pair(1, 12));
    EXPECT_EQ(shape_of(hosts({{"a", 4}, {"b", 8}})), std::pair(1, 12));
    EXPECT_EQ(shape_of(hosts({{"a", 6}, {"b", 6}, {"a", 6}})), std::pair(1, 18));
    EXPECT_EQ(shape_of({"a", "b", "a", "b"}), std::pair(1, 4));  // srun --distribution=cyclic
    // Whole copies on single processes would need the most memory.
    EXPECT_EQ(shape_of(hosts({{"a", 1}, {"b", 1}, {"c", 1}})), std::pair(1, 3));
}

TEST(MeshShape, DegreesMustMultiplyToTheProcesses) {
    EXPECT_THROW(mesh_shape(degrees(1, 3), true, machines(4, 4)), ConfigError);
    EXPECT_THROW(mesh_shape(degrees(3, -1), true, machines(4, 4)), ConfigError);
    EXPECT_THROW(mesh_shape(degrees(1, 0), true, machines(4, 4)), ConfigError);
    EXPECT_THROW(mesh_shape(degrees(2, 2), true, machines(1, 1)), ConfigError);
}

}  // namespace
}  // namespace flux::dist
