#include "flux/dist/mesh.h"

#include <ATen/ops/zeros.h>

#include "flux/base/error.h"

namespace flux::dist {

MeshShape mesh_shape(const config::Parallelism& settings, bool degrees_given,
                     const ProcessPlace& place) {
    const int64_t world = place.world_size;
    if (!degrees_given && place.even_machines && place.local_size > 1) {
        return {place.world_size / place.local_size, place.local_size};
    }
    const int64_t replicate = settings.data_parallel_replicate_degree;
    int64_t shard = settings.data_parallel_shard_degree;
    if (shard == 0) {
        fail_config(
            "parallelism.data_parallel_shard_degree = 0: must be at least 1, or -1 for all "
            "processes that data_parallel_replicate_degree leaves");
    }
    if (shard == -1) {
        if (world % replicate != 0) {
            fail_config(
                "parallelism.data_parallel_replicate_degree = {}: must divide the number of "
                "processes, {}",
                replicate, world);
        }
        shard = world / replicate;
    }
    if (replicate * shard != world) {
        fail_config(
            "parallelism.data_parallel_replicate_degree = {}, data_parallel_shard_degree = {}: "
            "their product must be the number of processes, {}",
            replicate, shard, world);
    }
    return {static_cast<int>(replicate), static_cast<int>(shard)};
}

Mesh::Mesh()
    : device_(c10::DeviceType::CPU),
      gather_(make_lone_communicator()),
      scatter_(make_lone_communicator()),
      replicas_(make_lone_communicator()),
      world_(make_lone_communicator()) {}

Mesh::Mesh(Store& store, const MeshShape& shape, c10::Device device,
           std::chrono::milliseconds timeout)
    : shape_(shape), device_(device) {
    const int rank = store.place().rank;
    const int replica = rank / shape.shard, place = rank % shape.shard;
    const auto make = [&](const std::string& name, int group_rank, int size) {
        return make_communicator(
            store,
            {.name = name, .rank = group_rank, .size = size, .device = device, .timeout = timeout});
    };
    world_ = make("world", rank, shape.size());
    gather_ = make(fmt::format("gather{}", replica), place, shape.shard);
    scatter_ = make(fmt::format("scatter{}", replica), place, shape.shard);
    replicas_ = make(fmt::format("replicas{}", place), replica, shape.replicate);
}

Traffic Mesh::traffic() const {
    Traffic sum;
    for (const auto* group : {&gather_, &scatter_, &replicas_, &world_}) {
        const Traffic& part = (*group)->traffic();
        sum.all_gather += part.all_gather;
        sum.reduce_scatter += part.reduce_scatter;
        sum.all_reduce += part.all_reduce;
        sum.operations += part.operations;
    }
    return sum;
}

void Mesh::set_timeout(std::chrono::milliseconds timeout) {
    for (const auto* group : {&gather_, &scatter_, &replicas_, &world_}) {
        (*group)->set_timeout(timeout);
    }
}

void Mesh::barrier() {
    const at::Tensor token = at::zeros({1}, at::TensorOptions(device_));
    world_->all_reduce(token).wait();
    token.cpu();  // on a GPU only this makes the host wait
}

}  // namespace flux::dist
