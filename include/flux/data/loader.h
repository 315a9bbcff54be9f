// Batches from a data set, made ahead of time by reader threads and handed over in order. What a
// batch holds depends on the settings and the seed, never on the number of threads.
//
// What a batch holds of its samples (pictures, or stored encodings) is laid out and filled in
// payload.h and nowhere else. All pictures of a batch have one shape.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "flux/base/error.h"
#include "flux/data/dataset.h"
#include "flux/data/order.h"

namespace flux::data {

class BadSampleLog;
class ReadAhead;

struct PictureBatch {
    at::Tensor images;  // [B, 3, H, W] uint8
    std::vector<std::string> captions;
};

/// All bfloat16. L text tokens, C width of a text token, V width of the pooled text, K h w
/// latent channels, height and width.
struct EncodingBatch {
    at::Tensor t5;      // [B, L, C]
    at::Tensor clip;    // [B, V]
    at::Tensor mean;    // [B, K, h, w]
    at::Tensor logvar;  // [B, K, h, w]
};

/// What a batch holds of its samples: pictures or encodings, as the data set's payload() says; the
/// other is empty.
struct Payload {
    PictureBatch pictures;
    EncodingBatch encodings;

    bool is_encoded() const { return encodings.t5.defined(); }
};

struct Batch {
    Payload payload;
    std::vector<std::string> keys;
    std::vector<int64_t> rows;  // row each sample really comes from (of the substitute, if any)
    std::vector<int64_t> timesteps;  // -1 = none
    int64_t first_sample = 0;  // global number of the first sample; with substitution sample i has
                               // number first_sample + i

    int64_t size() const { return static_cast<int64_t>(rows.size()); }
};

struct LoaderSettings {
    int64_t batch_size = 1;    // samples in a batch of this process
    int64_t first_sample = 0;  // global number of the first sample of the first group
    int64_t group_size = 0;    // samples that all processes take together per batch (batch_size *
                               // processes); 0: batch_size
    int64_t group_offset =
        0;  // where this process's slice begins in each group (rank * batch_size)
    int64_t step_size =
        0;             // samples of an optimizer step, a multiple of group_size; 0: group_size.
                       // Where a data set has buckets, each step's come from one of them
    int64_t end = -1;  // global number at which the pass ends; -1: endless
    config::Shuffle shuffle = config::Shuffle::kGlobal;
    uint64_t seed = 0;
    bool substitute = true;   // replace a bad sample by a keyed other one; false: leave it out,
                              // and what storage fails to give is an Error
    int num_workers = 2;      // reader threads; 0: the caller's thread reads
    int prefetch_factor = 2;  // batches under way for each reader
    double max_bad_fraction = 0.01;  // of an epoch's samples
    bool pinned = false;             // batches in page-locked memory, for copies to a GPU
};

/// More samples were bad than training.max_bad_fraction allows.
class TooManyBadSamples : public Error {
public:
    using Error::Error;
};

class Loader {
public:
    /// `dataset` must outlive the loader.
    Loader(const Dataset& dataset, const LoaderSettings& settings);
    ~Loader();
    Loader(const Loader&) = delete;
    Loader& operator=(const Loader&) = delete;

    /// The next batch; nothing at the end of a finite pass. Throws TooManyBadSamples as soon as
    /// more were bad than an epoch may have, or, after 1,000 samples of the epoch, more than that
    /// share of them; Error when no substitute for a bad sample can be found.
    std::optional<Batch> next();

    /// Bad samples met so far in the batches handed over to this process.
    int64_t own_bad_samples() const;
    /// Processes that train together judge by what all of them, this one included, have read and
    /// how much of it was bad: told to each in the same order, so that all come to the same.
    /// Throws TooManyBadSamples like next(), which then does not.
    void add_of_all(int64_t read, int64_t bad);
    /// Bad samples of all processes, for those that train together as far as told.
    int64_t bad_samples() const;

private:
    std::unique_ptr<BadSampleLog> bad_samples_;
    std::unique_ptr<ReadAhead> read_ahead_;
};

}  // namespace flux::data
