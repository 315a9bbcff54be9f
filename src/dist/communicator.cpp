#include "flux/dist/communicator.h"

#include <c10/util/Exception.h>

#include "dist/gloo_communicator.h"
#include "dist/nccl_communicator.h"

namespace flux::dist {
namespace {

void check_buffer(const at::Tensor& tensor) {
    TORCH_CHECK(tensor.is_contiguous(), "collective operations need contiguous tensors");
}

class LoneCommunicator final : public Communicator {
public:
    LoneCommunicator() : Communicator(0, 1, at::kCPU) {}
    void set_timeout(std::chrono::milliseconds) override {}

private:
    Pending start_all_gather(const at::Tensor& output, const at::Tensor& input) override {
        if (!output.is_alias_of(input)) {
            output.copy_(input);
        }
        return {};
    }
    Pending start_reduce_scatter(const at::Tensor& output, const at::Tensor& input) override {
        output.copy_(input);
        return {};
    }
    Pending start_all_reduce(const at::Tensor&) override { return {}; }
};

}  // namespace

Pending Communicator::all_gather(const at::Tensor& output, const at::Tensor& input) {
    check_buffer(output);
    check_buffer(input);
    TORCH_CHECK(output.numel() == input.numel() * size_ && output.dtype() == input.dtype(),
                "all_gather of ", input.numel(), " elements into ", output.numel());
    traffic_.add_all_gather(static_cast<int64_t>(input.nbytes()), size_);
    return start_all_gather(output, input);
}

Pending Communicator::reduce_scatter(const at::Tensor& output, const at::Tensor& input) {
    check_buffer(output);
    check_buffer(input);
    TORCH_CHECK(input.numel() == output.numel() * size_ && output.dtype() == input.dtype(),
                "reduce_scatter of ", input.numel(), " elements into ", output.numel());
    traffic_.add_reduce_scatter(static_cast<int64_t>(output.nbytes()), size_);
    return start_reduce_scatter(output, input);
}

Pending Communicator::all_reduce(const at::Tensor& data) {
    check_buffer(data);
    traffic_.add_all_reduce(static_cast<int64_t>(data.nbytes()), size_);
    return start_all_reduce(data);
}

std::unique_ptr<Communicator> make_communicator(Store& store, const GroupSettings& settings) {
    if (settings.size == 1) {
        return make_lone_communicator();
    }
    return settings.device.is_cuda() ? make_nccl_communicator(store, settings)
                                     : make_gloo_communicator(store, settings);
}

std::unique_ptr<Communicator> make_lone_communicator() {
    return std::make_unique<LoneCommunicator>();
}

}  // namespace flux::dist
