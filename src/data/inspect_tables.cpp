// The parts of `data inspect` for tables of pictures or of encodings, and for folders of pictures.
#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>

#include "data/arrow_table.h"
#include "data/inspect_finding.h"
#include "data/table_files.h"
#include "flux/base/error.h"
#include "flux/base/parallel_for.h"
#include "flux/base/progress.h"
#include "flux/data/encoding_dataset.h"
#include "flux/data/image_folder.h"
#include "flux/data/picture_table.h"

namespace flux::data {
namespace {

constexpr int64_t kChunk = 1024;  // samples whose findings are held at a time

template <class Source>
Finding look_at(const Source& source, int64_t row, bool with_thumbnail) {
    Finding finding;
    try {
        finding.key = source.key(row);
        StoredPicture stored = source.stored(row);
        finding.caption = std::move(stored.caption);
        finding.timestep = stored.timestep;
        look_at_picture(stored.file, with_thumbnail, finding);
    } catch (const Error& error) {
        const std::string place = source.describe(row);
        const std::string_view reason = error.what();
        finding.problem =
            reason.starts_with(place) ? std::string(reason) : fmt::format("{}: {}", place, reason);
        finding.key = finding.key.empty() ? place : finding.key;
    }
    return finding;
}

template <class Source>
void add_pictures(const Source& source, int threads, size_t thumbnails, Inspection& result) {
    Progress progress({.label = "inspect", .unit = "pictures", .total = source.size()});
    std::atomic<int64_t> done{0};
    for (int64_t first = 0; first < source.size(); first += kChunk) {
        std::vector<Finding> findings(static_cast<size_t>(std::min(kChunk, source.size() - first)));
        const size_t missing = thumbnails - std::min(thumbnails, result.thumbnails.size());
        parallel_for(std::ssize(findings), threads, [&](int64_t i) {
            const auto place = static_cast<size_t>(i);
            findings[place] = look_at(source, first + i, place < missing);
            progress.update(++done);
        });
        for (Finding& finding : findings) {
            add_finding(finding, result);
        }
    }
}

/// Sums of one array's values.
struct Sums {
    int64_t count = 0;
    double sum = 0, squares = 0;
    float smallest = INFINITY, largest = -INFINITY;

    void add(const StoredEncodings::Cell& cell) {
        for (size_t i = 0; i + 1 < cell.data.size(); i += 2) {
            const uint32_t bits = std::to_integer<uint32_t>(cell.data[i]) << 16 |
                                  std::to_integer<uint32_t>(cell.data[i + 1]) << 24;
            const auto value = std::bit_cast<float>(bits);
            sum += value;
            squares += static_cast<double>(value) * value;
            smallest = std::min(smallest, value);
            largest = std::max(largest, value);
        }
        count += static_cast<int64_t>(cell.data.size() / 2);
    }
    void add(const Sums& other) {
        count += other.count;
        sum += other.sum;
        squares += other.squares;
        smallest = std::min(smallest, other.smallest);
        largest = std::max(largest, other.largest);
    }
    ValueStats stats() const {
        if (count == 0) {
            return {};
        }
        const double mean = sum / static_cast<double>(count);
        const double variance = squares / static_cast<double>(count) - mean * mean;
        return {mean, std::sqrt(std::max(variance, 0.0)), smallest, largest};
    }
};

struct EncodedRow {
    Finding finding;
    Sums latents, logvar;
};

EncodedRow look_at_encodings(const EncodingDataset& dataset, int64_t row) {
    EncodedRow found;
    try {
        Sample sample = dataset.read(row, 0);
        found.finding.key = std::move(sample.key);
        found.finding.timestep = sample.timestep;
        found.latents.add(sample.encodings.mean);
        found.logvar.add(sample.encodings.logvar);
    } catch (const Error& error) {
        found.finding.key = dataset.describe(row);
        found.finding.problem = error.what();
    }
    return found;
}

Inspection inspect_encodings(const std::string& path, int threads) {
    const EncodingDataset dataset({.path = path});
    Inspection result{.kind = "stored encodings"};
    result.encodings = std::get<EncodingShape>(dataset.payload());
    Sums latents, logvar;
    Progress progress({.label = "inspect", .unit = "samples", .total = dataset.size()});
    std::atomic<int64_t> done{0};
    for (int64_t first = 0; first < dataset.size(); first += kChunk) {
        std::vector<EncodedRow> rows(static_cast<size_t>(std::min(kChunk, dataset.size() - first)));
        parallel_for(std::ssize(rows), threads, [&](int64_t i) {
            rows[static_cast<size_t>(i)] = look_at_encodings(dataset, first + i);
            progress.update(++done);
        });
        for (EncodedRow& row : rows) {
            add_finding(row.finding, result);
            latents.add(row.latents);
            logvar.add(row.logvar);
        }
    }
    result.latents = latents.stats();
    result.logvar = logvar.stats();
    return result;
}

}  // namespace

Inspection inspect_table(const std::string& path, int threads, size_t thumbnails) {
    const auto table = open_table(path, {{"t5_encodings", CellKind::kBytes, false}});
    Inspection result;
    if (table->has(0)) {
        result = inspect_encodings(path, threads);
    } else {
        result.kind = "table of pictures";
        add_pictures(PictureTable({.path = path,
                                   .img_size = kThumbnailSide,
                                   .skip_low_resolution = false,
                                   .read_timesteps = true}),
                     threads, thumbnails, result);
    }
    result.files = std::ssize(table->contents());
    return result;
}

Inspection inspect_image_folder(const std::string& path, int threads, size_t thumbnails) {
    const ImageFolder pictures({.path = path,
                                .img_size = kThumbnailSide,
                                .skip_low_resolution = false,
                                .scan_threads = threads});
    Inspection result{.kind = "folder of pictures", .files = pictures.size()};
    add_pictures(pictures, threads, thumbnails, result);
    return result;
}

}  // namespace flux::data
