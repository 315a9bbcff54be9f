#include "flux/checkpoint/saver.h"

#include <ATen/ops/empty.h>
#include <sys/resource.h>
#include <unistd.h>

#include <exception>

#include "flux/base/error.h"
#include "flux/base/log.h"
#include "flux/dist/store.h"

namespace flux::checkpoint {
namespace {

/// Training goes before the calling thread, but this must get on beside other programs too: a stop
/// signal may leave only seconds to complete the checkpoint, and the way back to more is closed.
void yield_to_training() {
    constexpr int kLater = 5;
    ::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), kLater);
}

}  // namespace

Saver::Saver(SaverSettings settings) : settings_(std::move(settings)) {}

Saver::~Saver() { finish(); }

void Saver::save(const RunState& run, std::vector<Piece> pieces, bool now) {
    finish();
    if (now || settings_.mode == config::AsyncMode::kDisabled) {
        write(run, pieces);
        return;
    }
    stage(pieces);
    saving_ = true;
    thread_ = std::thread([this, run, pieces = std::move(pieces)] {
        yield_to_training();
        try {
            write(run, pieces);
        } catch (const dist::LostPeer&) {
            // The watch says which process was lost, and ends this one.
        } catch (const Error& problem) {
            if (settings_.group.rank == 0) {  // all processes know the same
                log::warning("{}; training goes on", problem.what());
            }
        } catch (const std::exception& problem) {
            log::warning("saving a checkpoint: {}; training goes on", failure_text(problem));
        }
        saving_ = false;
    });
}

void Saver::finish() {
    if (thread_.joinable()) {
        thread_.join();
    }
}

/// Training changes the pieces' tensors while the copies are being written.
void Saver::stage(std::vector<Piece>& pieces) {
    staged_.resize(pieces.size());
    for (size_t i = 0; i < pieces.size(); ++i) {
        at::Tensor& copy = staged_[i];
        const at::Tensor& data = pieces[i].data;
        if (!copy.defined() || copy.numel() != data.numel() || copy.dtype() != data.dtype()) {
            const bool pinned = settings_.mode == config::AsyncMode::kAsyncPinned && data.is_cuda();
            copy = at::empty(data.sizes(), data.options().device(at::kCPU).pinned_memory(pinned));
        }
        copy.copy_(data);
        pieces[i].data = copy;
    }
}

void Saver::write(const RunState& run, const std::vector<Piece>& pieces) {
    const auto path =
        checkpoint::save(settings_.folder, run, pieces, settings_.keep_latest_k, settings_.group);
    log::info("saved {}", path.string());
}

}  // namespace flux::checkpoint
