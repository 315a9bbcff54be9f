#include "data/bad_sample_log.h"

#include <algorithm>
#include <vector>

#include "flux/base/error.h"
#include "flux/base/log.h"

namespace flux::data {
namespace {

constexpr int64_t kEnoughSamples = 1000;  // to judge before the epoch's end
constexpr size_t kMaxNamed = 20;
constexpr size_t kMaxOffenders = 3;

}  // namespace

BadSampleLog::BadSampleLog(const Dataset& dataset, const LoaderSettings& settings)
    : dataset_(dataset),
      substitute_(settings.substitute),
      max_bad_fraction_(settings.max_bad_fraction),
      alone_(settings.group_size <= settings.batch_size),
      together_(!alone_ && substitute_),
      sums_up_(alone_ || (settings.group_offset == 0 && settings.end < 0)),
      by_position_(dataset.order() != nullptr),
      counts_epochs_(together_ && !by_position_),
      told_(settings.first_sample),
      epoch_(by_position_ ? 0 : static_cast<uint32_t>(settings.first_sample / dataset.size())),
      saw_epoch_begin_(by_position_ ? settings.first_sample == 0
                                    : settings.first_sample % dataset.size() == 0) {
    if (!(max_bad_fraction_ >= 0.0 && max_bad_fraction_ <= 1.0)) {
        fail("training.max_bad_fraction = {}: must be 0 to 1", max_bad_fraction_);
    }
}

void BadSampleLog::add(const Slot& slot, int64_t sample) {
    // By the count where it tells: with buckets the rows of one batch may belong to different
    // passes.
    const auto epoch =
        by_position_ ? slot.position.epoch : static_cast<uint32_t>(sample / dataset_.size());
    if (epoch != epoch_ && !counts_epochs_) {
        end_epoch(saw_epoch_begin_);
        epoch_ = epoch;
        saw_epoch_begin_ = seen_before_;
    }
    seen_before_ = true;
    if (!slot.bad.empty()) {
        ++own_;
        name(slot);
    }
    if (!together_) {
        count(1, slot.bad.empty() ? 0 : 1);
    }
    if (slot.failure) {
        std::rethrow_exception(slot.failure);
    }
    if (!together_) {
        judge();
    }
    if (!by_position_ && !together_ && (sample + 1) % dataset_.size() == 0) {
        end_epoch(saw_epoch_begin_);
    }
}

/// A step in which an epoch ends counts for the next one, in all processes alike; where rows have
/// no number that all share, for the one that this process is in.
void BadSampleLog::add_of_all(int64_t read, int64_t bad) {
    told_ += read;
    if (counts_epochs_) {
        const auto epoch = static_cast<uint32_t>((told_ - 1) / dataset_.size());
        if (epoch != epoch_) {
            end_epoch(/*complete=*/false);
            epoch_ = epoch;
        }
    }
    count(read, bad);
    judge();
}

void BadSampleLog::count(int64_t read, int64_t bad) {
    seen_ += read;
    bad_ += bad;
    total_ += bad;
}

void BadSampleLog::finish() { end_epoch(false); }

void BadSampleLog::name(const Slot& slot) {
    for (const BadRead& bad : slot.bad) {
        Source& source = sources_[dataset_.source(bad.row)];
        if (source.count++ == 0) {
            source.first_error = bad.error;
        }
        if (named_.size() > kMaxNamed || !named_.insert(bad.row).second) {
            continue;
        }
        if (named_.size() <= kMaxNamed) {
            log::warning("bad sample {}: {}", substitute_ ? "replaced" : "left out", bad.error);
        } else {
            log::warning("more bad samples are only counted, the sum follows at the epoch's end");
        }
    }
}

/// Too many for the whole epoch, however good the rest; or too many among enough to judge by.
void BadSampleLog::judge() const {
    const auto judged =
        seen_ >= kEnoughSamples ? std::min(seen_, dataset_.size()) : dataset_.size();
    if (static_cast<double>(bad_) > max_bad_fraction_ * static_cast<double>(judged)) {
        fail_too_many();
    }
}

void BadSampleLog::end_epoch(bool complete) {
    if (bad_ > 0) {
        if (sums_up_) {
            log::warning("epoch {}: {} of {} samples were bad and {}", epoch_, bad_, seen_,
                         substitute_ ? "replaced" : "left out");
        }
        if (alone_ && complete && bad_ == seen_) {
            fail_too_many();
        }
    }
    seen_ = 0;
    bad_ = 0;
}

/// The sources with most of this process's bad reads.
std::string BadSampleLog::offenders() const {
    std::vector<std::pair<std::string, Source>> worst(sources_.begin(), sources_.end());
    const size_t shown = std::min(worst.size(), kMaxOffenders);
    std::partial_sort(worst.begin(), worst.begin() + static_cast<std::ptrdiff_t>(shown),
                      worst.end(),
                      [](const auto& a, const auto& b) { return a.second.count > b.second.count; });
    std::string text;
    for (size_t i = 0; i < shown; ++i) {
        text += fmt::format("{}{} ({} bad reads, the first: {})", i == 0 ? "" : "; ",
                            worst[i].first, worst[i].second.count, worst[i].second.first_error);
    }
    return text.empty() ? "the files that other processes have named" : text;
}

void BadSampleLog::fail_too_many() const {
    throw TooManyBadSamples(fmt::format(
        "too many bad samples: {} of {} read in epoch {}, which has {}; training.max_bad_fraction "
        "allows {:.3g} %. Most of them in: {}. Repair or remove these files, or raise "
        "training.max_bad_fraction",
        bad_, seen_, epoch_, dataset_.size(), 100.0 * max_bad_fraction_, offenders()));
}

}  // namespace flux::data
