#include "dist/gloo_communicator.h"

#include <ATen/ops/empty_like.h>
#include <ATen/ops/sum.h>
#include <net/if.h>

#include <cstdlib>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>

#include "dist/local_address.h"
#include "dist/store_handle.h"
#include "flux/base/error.h"
#include "flux/base/out_of_memory.h"

namespace flux::dist {
namespace {

using WorkPointer = c10::intrusive_ptr<c10d::Work>;

template <class Action>
auto reaching_peers(Action action) {
    try {
        return action();
    } catch (const Error&) {
        throw;  // our own
    } catch (const std::exception& problem) {
        if (is_out_of_memory(problem)) {
            throw;  // here, not at a peer
        }
        const auto* own = dynamic_cast<const c10::Error*>(&problem);
        const std::string text = own != nullptr ? own->what_without_backtrace() : problem.what();
        throw LostPeer(text.substr(0, text.find('\n')));
    }
}

/// `then` runs when the work is done.
Pending pending(WorkPointer work, std::function<void()> then = {}) {
    return Pending([work = std::move(work), then = std::move(then)] {
        reaching_peers([&] { work->wait(); });
        if (then) {
            then();
        }
    });
}

/// Gloo by itself listens on what the machine's name stands for, on Debian loopback.
c10::intrusive_ptr<c10d::ProcessGroupGloo::Options> make_options(
    Store& store, std::chrono::milliseconds timeout) {
    using Group = c10d::ProcessGroupGloo;
    auto options = Group::Options::create(timeout);
    if (const char* interface = std::getenv("GLOO_SOCKET_IFNAME")) {
        if (::if_nametoindex(interface) == 0) {
            fail_config(
                "environment: GLOO_SOCKET_IFNAME={}: this machine has no network interface of that "
                "name; `ip link` lists them",
                interface);
        }
        options->devices.push_back(Group::createDeviceForInterface(interface));
    } else if (const auto address = listening_address(store, timeout)) {
        options->devices.push_back(Group::createDeviceForHostname(*address));
    } else {
        options->devices.push_back(Group::createDefaultDevice());
    }
    return options;
}

class GlooCommunicator final : public Communicator {
public:
    GlooCommunicator(Store& store, const GroupSettings& settings)
        : Communicator(settings.rank, settings.size, at::kCPU), group_(reaching_peers([&] {
              const auto names =
                  c10::make_intrusive<c10d::PrefixStore>(settings.name, store.handle().store);
              return c10::make_intrusive<c10d::ProcessGroupGloo>(
                  names, settings.rank, settings.size, make_options(store, settings.timeout));
          })) {}

    void set_timeout(std::chrono::milliseconds timeout) override { group_->setTimeout(timeout); }

private:
    Pending start_all_gather(const at::Tensor& output, const at::Tensor& input) override {
        // Bytes: a gather does not look at values, and Gloo does not know every type.
        at::Tensor to = output.view(at::kByte), from = input.view(at::kByte);
        return pending(reaching_peers([&] { return group_->_allgather_base(to, from); }));
    }

    /// Gloo's own reduce-scatter blocks its caller, so the parts are exchanged and added up here,
    /// in rank order and in fp32.
    Pending start_reduce_scatter(const at::Tensor& output, const at::Tensor& input) override {
        at::Tensor parts = at::empty_like(input);
        at::Tensor to = parts.view(at::kByte), from = input.view(at::kByte);
        std::vector<int64_t> even;
        auto work = reaching_peers([&] { return group_->alltoall_base(to, from, even, even); });
        return pending(std::move(work), [parts, output, n = size()] {
            at::Tensor sum = output;
            at::sum_out(sum, parts.view({n, output.numel()}), 0);
        });
    }

    Pending start_all_reduce(const at::Tensor& data) override {
        std::vector<at::Tensor> tensors{data};
        return pending(reaching_peers([&] { return group_->allreduce(tensors); }));
    }

    c10::intrusive_ptr<c10d::ProcessGroupGloo> group_;
};

}  // namespace

std::unique_ptr<Communicator> make_gloo_communicator(Store& store, const GroupSettings& settings) {
    return std::make_unique<GlooCommunicator>(store, settings);
}

}  // namespace flux::dist
