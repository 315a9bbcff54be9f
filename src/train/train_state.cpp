#include "flux/train/train_state.h"

#include "flux/base/error.h"

namespace flux::train {
namespace {

/// Calls visit(kind, segment, flat values of the segment) for everything that is saved.
template <class Visit>
void for_each_tensor(const units::ParameterStore& parameters, optim::AdamW* optimizer,
                     Visit visit) {
    const auto visit_flat = [&](const char* kind, size_t i, const at::Tensor& flat) {
        for (const units::Segment& segment : parameters.shards()[i].segments) {
            visit(kind, segment, flat.narrow(0, segment.offset, segment.numel));
        }
    };
    for (size_t i = 0; i < parameters.shards().size(); ++i) {
        visit_flat(checkpoint::kParam, i, parameters.shards()[i].param);
        if (optimizer != nullptr) {
            visit_flat(checkpoint::kExpAvg, i, optimizer->exp_avg()[i]);
            visit_flat(checkpoint::kExpAvgSq, i, optimizer->exp_avg_sq()[i]);
        }
    }
}

}  // namespace

std::vector<checkpoint::Piece> checkpoint_pieces(const units::ParameterStore& parameters,
                                                 optim::AdamW* optimizer) {
    std::vector<checkpoint::Piece> pieces;
    for_each_tensor(parameters, optimizer,
                    [&](const char* kind, const units::Segment& segment, at::Tensor values) {
                        pieces.push_back({segment.name, kind, segment.shape, 0, segment.numel,
                                          std::move(values)});
                    });
    return pieces;
}

void restore(checkpoint::Checkpoint& from, units::ParameterStore& parameters,
             optim::AdamW* optimizer) {
    if (optimizer != nullptr && !from.has_kind(checkpoint::kExpAvg)) {
        fail(
            "{}: holds weights only, so a run cannot go on from it; start anew with --job.restart "
            "or sample from it",
            from.folder().string());
    }
    std::vector<checkpoint::Target> targets;
    for_each_tensor(parameters, optimizer,
                    [&](const char* kind, const units::Segment& segment, at::Tensor values) {
                        targets.push_back({segment.name, kind, segment.shape, 0, segment.numel,
                                           std::move(values)});
                    });
    from.load_into(targets);
    parameters.parameters_changed();
    if (optimizer != nullptr) {
        optimizer->set_steps_taken(from.run().optimizer_step);
    }
}

}  // namespace flux::train
