// One hash of a row of values, for Dataset::fingerprint. Stored in checkpoints: it must never
// change.
#pragma once

#include <cstdint>
#include <string_view>

#include "flux/base/hash.h"
#include "flux/data/buckets.h"

namespace flux::data {

class Fingerprint {
public:
    /// `kind` of data set.
    explicit Fingerprint(std::string_view kind) : value_(fnv1a(kind)) {}

    /// Order counts, and so does where one value ends and the next begins.
    Fingerprint& add(uint64_t number) {
        char bytes[16];
        for (int i = 0; i < 8; ++i) {
            bytes[i] = static_cast<char>(value_ >> (8 * i));
            bytes[8 + i] = static_cast<char>(number >> (8 * i));
        }
        value_ = fnv1a({bytes, sizeof bytes});
        return *this;
    }
    Fingerprint& add(std::string_view text) { return add(fnv1a(text)); }

    uint64_t value() const { return value_; }

private:
    uint64_t value_;
};

/// Adds which row has which shape; nothing without buckets.
inline void add_to(Fingerprint& fingerprint, const Buckets* buckets) {
    if (buckets == nullptr) {
        return;
    }
    for (const PictureShape& shape : buckets->shapes) {
        fingerprint.add(static_cast<uint64_t>(shape.width))
            .add(static_cast<uint64_t>(shape.height));
    }
    for (const uint16_t bucket : buckets->of_row) {
        fingerprint.add(bucket);
    }
}

}  // namespace flux::data
