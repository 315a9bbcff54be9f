// Arrow's results as values or Errors.
#pragma once

#include <arrow/result.h>

#include <string>
#include <utility>

#include "flux/base/error.h"

namespace flux::data {

inline void check_arrow(const arrow::Status& status, const std::string& place) {
    if (status.IsOutOfMemory()) {
        fail("{}: {}; write the file again with smaller batches or row groups", place,
             status.message());
    }
    if (!status.ok()) {
        fail("{}: {}", place, status.message());
    }
}

template <class T>
T take_arrow(arrow::Result<T>&& result, const std::string& place) {
    check_arrow(result.status(), place);
    return std::move(result).ValueUnsafe();
}

}  // namespace flux::data
