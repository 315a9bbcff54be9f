#include "flux/dist/process_place.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <initializer_list>
#include <string>

#include "flux/base/error.h"
#include "flux/dist/mesh.h"

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
                                "SLURM_PROCID",
                                "SLURM_NTASKS",
                                "SLURM_LOCALID",
                                "SLURM_JOB_ID",
                                "SLURM_STEP_NUM_TASKS",
                                "SLURM_STEP_TASKS_PER_NODE",
                                "TORCHELASTIC_USE_AGENT_STORE",
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
    try {
        place_of(variables);
    } catch (const ConfigError& error) {
        return error.what();
    }
    return "no error";
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

TEST(MeshShape, DegreesMustMultiplyToTheProcesses) {
    EXPECT_THROW(mesh_shape(degrees(1, 3), true, machines(4, 4)), ConfigError);
    EXPECT_THROW(mesh_shape(degrees(3, -1), true, machines(4, 4)), ConfigError);
    EXPECT_THROW(mesh_shape(degrees(1, 0), true, machines(4, 4)), ConfigError);
    EXPECT_THROW(mesh_shape(degrees(2, 2), true, machines(1, 1)), ConfigError);
}

}  // namespace
}  // namespace flux::dist
