// What every data set with known rows offers. The loader knows nothing else about a data set, so a
// new kind of storage is a new Dataset.
#pragma once

#include <cstdint>
#include <string>

#include "flux/base/error.h"
#include "flux/data/buckets.h"
#include "flux/data/order.h"
#include "flux/data/sample.h"

namespace flux::data {

/// Storage cannot be reached, through no fault of the sample: no other one is to stand in for it.
class FetchError : public Error {
public:
    using Error::Error;
};

class Dataset {
public:
    virtual ~Dataset() = default;

    /// Where order() is not null, an estimate.
    virtual int64_t size() const = 0;

    /// The order in which its rows are to be read; null: any.
    virtual const SampleOrder* order() const { return nullptr; }

    /// What read() returns, and its sizes; with buckets each row has the shape of its own.
    virtual PayloadShape payload() const = 0;

    /// The shapes of the rows where they differ; null: all are as payload() says.
    virtual const Buckets* buckets() const { return nullptr; }

    /// The sample of a row in [0, size()), the same on every call with the same arguments; the
    /// epoch keys the crop. Safe to call from several threads. Throws Error if the sample is bad,
    /// FetchError if that cannot be told.
    virtual Sample read(int64_t row, uint32_t epoch) const = 0;

    /// The caption that read() gives the row, without decoding the picture. Throws Error if there
    /// is none to read, as in a set of stored encodings.
    virtual std::string caption(int64_t row) const = 0;

    /// Hash of all that fixes which sample a row number means. The same after a restart and for a
    /// copy in another folder; a resumed run must find the value it was saved with.
    virtual uint64_t fingerprint() const = 0;

    /// Where the row comes from, for messages: "/dataset/x/0003.tar: 000000017".
    virtual std::string describe(int64_t row) const = 0;

    /// The file, or other unit of storage, that the row comes from: bad rows are summed up by it.
    virtual std::string source(int64_t row) const = 0;
};

}  // namespace flux::data
