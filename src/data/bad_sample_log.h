// Counts the bad samples of a run, names them in the log, and says when there are too many.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <unordered_set>

#include "data/read_ahead.h"
#include "flux/data/dataset.h"
#include "flux/data/loader.h"

namespace flux::data {

class BadSampleLog {
public:
    BadSampleLog(const Dataset& dataset, const LoaderSettings& settings);

    /// Takes note of the next sample of the run, global number `sample`. Throws
    /// TooManyBadSamples.
    void add(const Slot& slot, int64_t sample);
    /// Where processes train together the share is that of the whole job, and only what is told
    /// here of all of them counts. Throws like add().
    void add_of_all(int64_t read, int64_t bad);
    /// The pass has come to its end.
    void finish();

    /// Of this process.
    int64_t own() const { return own_; }
    /// Of all processes that are known of.
    int64_t total() const { return total_; }

private:
    struct Source {
        int64_t count = 0;
        std::string first_error;
    };

    void count(int64_t read, int64_t bad);
    void name(const Slot& slot);
    void judge() const;
    void end_epoch(bool complete);
    std::string offenders() const;
    [[noreturn]] void fail_too_many() const;

    const Dataset& dataset_;
    const bool substitute_;
    const double max_bad_fraction_;
    const bool alone_;     // no other process shares the pass
    const bool together_;  // processes train together; a bad sample of any is replaced
    const bool sums_up_;   // one does for all; after a finite pass that is shared, the caller

    const bool by_position_;    // the data set's size is an estimate
    const bool counts_epochs_;  // by what is told of all, not by what this process reads
    int64_t told_;              // samples of all processes, those before this start included
    uint32_t epoch_;
    bool saw_epoch_begin_;
    bool seen_before_ = false;
    int64_t seen_ = 0;  // in this epoch
    int64_t bad_ = 0;   // in this epoch
    int64_t own_ = 0;
    int64_t total_ = 0;
    std::unordered_set<int64_t> named_;  // rows with a log line
    std::map<std::string, Source> sources_;
};

}  // namespace flux::data
