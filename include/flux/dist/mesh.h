// The processes of a job as a grid: `replicate` copies of the model, each sharded over `shard`
// processes. Rank = replica * shard + place within the copy, so that the processes of one copy are
// neighbours on a machine.
#pragma once

#include <c10/core/Device.h>

#include <chrono>
#include <memory>

#include "flux/config/job_config.h"
#include "flux/dist/communicator.h"
#include "flux/dist/process_place.h"
#include "flux/dist/store.h"

namespace flux::dist {

struct MeshShape {
    int replicate = 1;
    int shard = 1;

    int size() const { return replicate * shard; }
};

/// From parallelism.data_parallel_replicate_degree and data_parallel_shard_degree (-1: the rest).
/// Without `degrees_given`, processes on several machines shard within a machine and replicate
/// across, where all machines hold as many of successive ranks, and more than one. Throws
/// ConfigError if the degrees do not multiply to the number of processes.
MeshShape mesh_shape(const config::Parallelism& settings, bool degrees_given,
                     const ProcessPlace& place);

class Mesh {
public:
    /// The mesh of one process.
    Mesh();
    /// All processes must call. `store` must outlive the mesh.
    Mesh(Store& store, const MeshShape& shape, c10::Device device,
         std::chrono::milliseconds timeout);

    const MeshShape& shape() const { return shape_; }
    int rank() const { return world_->rank(); }
    int size() const { return world_->size(); }
    bool is_first() const { return rank() == 0; }
    int shard_rank() const { return gather_->rank(); }
    int replica() const { return replicas_->rank(); }

    /// The processes of this copy of the model. Weights and gradients travel in groups of their
    /// own, so that neither waits for the other.
    Communicator& gather() { return *gather_; }
    Communicator& scatter() { return *scatter_; }
    /// The processes that hold the same shard in every copy.
    Communicator& replicas() { return *replicas_; }
    /// All processes.
    Communicator& world() { return *world_; }

    /// Bytes sent by all groups.
    Traffic traffic() const;
    void set_timeout(std::chrono::milliseconds timeout);
    /// Returns when all processes have called.
    void barrier();

private:
    MeshShape shape_;
    c10::Device device_;
    std::unique_ptr<Communicator> gather_;
    std::unique_ptr<Communicator> scatter_;
    std::unique_ptr<Communicator> replicas_;
    std::unique_ptr<Communicator> world_;
};

}  // namespace flux::dist
