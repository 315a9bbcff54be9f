#include "flux/train/train_state.h"

#include "flux/base/error.h"
#include "flux/base/log.h"

namespace flux::train {
namespace {

/// Calls visit(kind, segment, part, its flat values) for everything that is saved, also with empty
/// parts of what other processes hold.
template <class Visit>
void for_each_tensor(const units::ParameterStore& parameters, optim::AdamW* optimizer,
                     optim::Ema* ema, Visit visit) {
    const auto visit_flat = [&](const char* kind, size_t i, const at::Tensor& flat) {
        const units::FlatShard& shard = parameters.shards()[i];
        for (const units::Segment& segment : shard.segments) {
            const units::LocalPart part = units::local_part(shard, segment);
            visit(kind, segment, part, part.of(flat));
        }
    };
    for (size_t i = 0; i < parameters.shards().size(); ++i) {
        visit_flat(checkpoint::kParam, i, parameters.shards()[i].param);
        if (optimizer != nullptr) {
            visit_flat(checkpoint::kExpAvg, i, optimizer->exp_avg()[i]);
            visit_flat(checkpoint::kExpAvgSq, i, optimizer->exp_avg_sq()[i]);
        }
        if (ema != nullptr) {
            visit_flat(checkpoint::kEma, i, ema->values()[i]);
        }
    }
}

}  // namespace

std::vector<checkpoint::Piece> checkpoint_pieces(units::ParameterStore& parameters,
                                                 optim::AdamW* optimizer, optim::Ema* ema) {
    const int64_t copies = parameters.mesh().shape().replicate;
    const int64_t copy = parameters.mesh().replica();
    std::vector<checkpoint::Piece> pieces;
    for_each_tensor(parameters, optimizer, ema,
                    [&](const char* kind, const units::Segment& segment,
                        const units::LocalPart& part, const at::Tensor& values) {
                        // Every copy of the model holds the part; each writes its share of it.
                        const int64_t first = part.numel() * copy / copies;
                        const int64_t last = part.numel() * (copy + 1) / copies;
                        pieces.push_back({segment.name, kind, segment.shape, part.begin + first,
                                          part.begin + last, values.slice(0, first, last)});
                    });
    return pieces;
}

void restore(checkpoint::Checkpoint& from, units::ParameterStore& parameters,
             optim::AdamW* optimizer, optim::Ema* ema) {
    if (optimizer != nullptr && !from.has_kind(checkpoint::kExpAvg)) {
        fail(
            "{}: holds weights only, so a run cannot go on from it; start anew with --job.restart "
            "or sample from it",
            from.folder().string());
    }
    const bool begins = ema != nullptr && !from.has_kind(checkpoint::kEma);
    std::vector<checkpoint::Target> targets;
    for_each_tensor(
        parameters, optimizer, begins ? nullptr : ema,
        [&](const char* kind, const units::Segment& segment, const units::LocalPart& part,
            const at::Tensor& values) {
            targets.push_back({segment.name, kind, segment.shape, part.begin, part.end, values});
        });
    from.load_into(targets);
    parameters.parameters_changed();
    if (begins) {
        ema->begin(parameters.shards());
        if (parameters.mesh().is_first()) {
            log::warning("{}: holds no averaged weights: the average begins at its weights",
                         from.folder().string());
        }
    }
    if (optimizer != nullptr) {
        optimizer->set_steps_taken(from.run().optimizer_step);
    }
}

void restore_average(checkpoint::Checkpoint& from, units::ParameterStore& parameters) {
    std::vector<checkpoint::Target> targets;
    for_each_tensor(parameters, nullptr, nullptr,
                    [&](const char* /*kind*/, const units::Segment& segment,
                        const units::LocalPart& part, const at::Tensor& values) {
                        targets.push_back({segment.name, checkpoint::kEma, segment.shape,
                                           part.begin, part.end, values});
                    });
    from.load_into(targets);
    parameters.parameters_changed();
}

}  // namespace flux::train
