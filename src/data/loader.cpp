#include "flux/data/loader.h"

#include "data/bad_sample_log.h"
#include "data/read_ahead.h"
#include "flux/data/payload.h"

namespace flux::data {
namespace {

/// The filled places of a batch.
Batch to_batch(ReadBatch read) {
    Batch batch;
    batch.first_sample = read.first_sample;
    std::vector<int64_t> kept;
    for (size_t i = 0; i < read.slots.size(); ++i) {
        Slot& slot = read.slots[i];
        if (!slot.filled) {
            continue;
        }
        kept.push_back(static_cast<int64_t>(i));
        batch.rows.push_back(slot.row);
        batch.timesteps.push_back(slot.timestep);
        batch.keys.push_back(std::move(slot.key));
    }
    batch.payload = kept.size() == read.slots.size() ? std::move(read.payload)
                                                     : select_samples(read.payload, kept);
    return batch;
}

}  // namespace

Loader::Loader(const Dataset& dataset, const LoaderSettings& settings)
    : bad_samples_(std::make_unique<BadSampleLog>(dataset, settings)),
      read_ahead_(std::make_unique<ReadAhead>(dataset, settings)) {}

Loader::~Loader() = default;

std::optional<Batch> Loader::next() {
    while (auto read = read_ahead_->next()) {
        int64_t sample = read->first_sample;
        for (const Slot& slot : read->slots) {
            bad_samples_->add(slot, sample++);
        }
        Batch batch = to_batch(std::move(*read));
        if (batch.size() > 0) {
            return batch;
        }
    }
    bad_samples_->finish();
    return std::nullopt;
}

int64_t Loader::own_bad_samples() const { return bad_samples_->own(); }

void Loader::add_of_all(int64_t read, int64_t bad) { bad_samples_->add_of_all(read, bad); }

int64_t Loader::bad_samples() const { return bad_samples_->total(); }

}  // namespace flux::data
