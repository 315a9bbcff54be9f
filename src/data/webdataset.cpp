#include "flux/data/webdataset.h"

#include <algorithm>
#include <optional>

#include "data/fingerprint.h"
#include "data/sample_picture.h"
#include "data/shard_index.h"
#include "flux/base/error.h"
#include "flux/base/log.h"
#include "flux/base/storage_error.h"

namespace flux::data {
namespace {

constexpr int kMaxWarnings = 20;

}  // namespace

WebDataset::WebDataset(const WebDatasetSettings& settings)
    : settings_(settings), cache_(settings.shard_limits) {
    const std::vector<std::string> named = name_shards(settings_.path, settings_.remote);
    // A subset needs the first shards only; how many shows when they are there.
    const size_t at_once = settings_.subset_size > 0
                               ? static_cast<size_t>(std::max(settings_.remote.downloads, 1))
                               : named.size();
    for (size_t at = 0; at < named.size() && !is_complete(); at += at_once) {
        add_shards(std::span(named).subspan(at, std::min(at_once, named.size() - at)));
    }
    if (warnings_ > kMaxWarnings) {
        log::warning("{}: {} more shards with problems", settings_.path, warnings_ - kMaxWarnings);
    }
    if (settings_.buckets.step > 0) {
        form_buckets();
    }
    check_not_empty();
    log_contents();
}

bool WebDataset::is_complete() const {
    return settings_.subset_size > 0 && samples_seen_ >= settings_.subset_size;
}

void WebDataset::add_shards(std::span<const std::string> named) {
    const auto warn = [&](const std::string& text) {
        if (++warnings_ <= kMaxWarnings) {
            log::warning("{}", text);
        }
    };
    for (IndexedShard& entry : index_shards(bring_shards(named, settings_.remote), cache_,
                                            settings_.index_threads, settings_.index_folder)) {
        if (is_complete()) {
            return;
        }
        if (!entry.error.empty()) {
            if (skipped_shards_++ == 0) {
                first_shard_error_ = entry.error;
            }
            warn("shard left out: " + entry.error);
            continue;
        }
        const std::string path = entry.shard->path().string();
        if (!entry.index.damage.empty()) {
            warn(fmt::format("{}: damaged, its readable part is used: {}", path,
                             entry.index.damage));
        } else if (entry.index.samples.empty()) {
            warn(fmt::format("{}: holds no sample", path));
        } else if (!entry.index.has_end_mark) {
            warn(fmt::format("{}: has no end mark, it may have lost its tail", path));
        }
        add_shard(std::move(*entry.shard), entry.index);
    }
}

void WebDataset::add_shard(Shard shard, const TarIndex& index) {
    shards_.push_back(std::move(shard));
    for (const IndexedSample& sample : index.samples) {
        if (is_complete()) {
            return;
        }
        ++samples_seen_;
        add_sample(sample);
    }
}

void WebDataset::add_sample(const IndexedSample& sample) {
    const std::string problem = problem_of(sample);
    if (settings_.buckets.step > 0) {
        sizes_.push_back(problem.empty() ? sample.picture : std::nullopt);
    } else if (problem.empty() && settings_.skip_low_resolution && sample.picture &&
               std::min(sample.picture->width, sample.picture->height) < settings_.img_size) {
        ++low_resolution_samples_;
        return;
    }
    if (!problem.empty()) {
        problems_[size()] = problem;
    }
    rows_.push_back({sample.key, static_cast<uint32_t>(shards_.size() - 1), parts_of(sample)});
}

/// Rows that no bucket takes go, and the others move up.
void WebDataset::form_buckets() {
    BucketedRows sorted = sort_into_buckets(sizes_, settings_.img_size, settings_.buckets);
    low_resolution_samples_ = size() - std::ssize(sorted.kept);
    std::vector<Row> rows;
    std::unordered_map<int64_t, std::string> problems;
    for (const int64_t row : sorted.kept) {
        if (const auto problem = problems_.find(row); problem != problems_.end()) {
            problems[std::ssize(rows)] = std::move(problem->second);
        }
        rows.push_back(std::move(rows_[static_cast<size_t>(row)]));
    }
    rows_ = std::move(rows);
    problems_ = std::move(problems);
    sizes_ = {};
    buckets_ = std::move(sorted.buckets);
}

void WebDataset::check_not_empty() const {
    const std::string& path = settings_.path;
    if (rows_.empty() && low_resolution_samples_ > 0) {
        fail("{}: all {} pictures {} and are left out: choose a smaller img_size", path,
             low_resolution_samples_,
             buckets_ ? "are smaller than any bucket"
                      : fmt::format("have a side below {} pixels", settings_.img_size));
    }
    if (rows_.empty() && skipped_shards_ > 0) {
        fail("{}: no sample can be read; {} of {} shards are not readable, the first: {}", path,
             skipped_shards_, skipped_shards_ + static_cast<int64_t>(shards_.size()),
             first_shard_error_);
    }
    if (rows_.empty()) {
        fail("{}: the data set is empty: its {} tar shards hold no sample", path, shards_.size());
    }
    if (problems_.size() == rows_.size()) {
        fail("{}: none of the {} samples can be used; the first one, {}: {}", path, rows_.size(),
             describe(0), problems_.at(0));
    }
}

void WebDataset::log_contents() const {
    std::string left_out;
    if (skipped_shards_ > 0) {
        left_out += fmt::format("; {} unreadable shards are left out", skipped_shards_);
    }
    if (low_resolution_samples_ > 0) {
        left_out +=
            fmt::format("; {} more samples are left out, they {}", low_resolution_samples_,
                        buckets_ ? "are smaller than any bucket"
                                 : fmt::format("have a side below {} pixels", settings_.img_size));
    }
    log::info("{}: {} samples in {} tar shards{}", settings_.path, rows_.size(), shards_.size(),
              left_out);
    if (buckets_) {
        log::info("{}: {}", settings_.path, to_text(*buckets_));
    }
    uint64_t unpacked = 0;
    for (const Shard& shard : shards_) {
        unpacked += shard.unpacked_bytes();
    }
    if (unpacked > settings_.shard_limits.unpacked_bytes) {
        log::warning(
            "{}: the compressed shards unpack to {} bytes, {} can be held in memory: reading in "
            "random order unpacks shards over and over; repack them as plain .tar",
            settings_.path, unpacked, settings_.shard_limits.unpacked_bytes);
    }
}

/// Throws Error if the index has found the row to be bad.
void WebDataset::check_known(int64_t row_number) const {
    if (const auto problem = problems_.find(row_number); problem != problems_.end()) {
        fail("{}", problem->second);
    }
}

std::string WebDataset::caption(int64_t row_number) const {
    const Row& row = rows_.at(static_cast<size_t>(row_number));
    try {
        check_known(row_number);
        return read_caption(row.parts, *cache_.open(shards_[row.shard]));
    } catch (const Error& error) {
        fail_at(describe(row_number), error);
    }
}

Sample WebDataset::read(int64_t row_number, uint32_t epoch) const {
    const Row& row = rows_.at(static_cast<size_t>(row_number));
    try {
        check_known(row_number);
        Sample sample;
        sample.row = row_number;
        sample.key = row.key;
        const std::vector<uint8_t> file = read_files(row, sample);
        sample.image = sample_picture(file,
                                      {buckets_ ? buckets_->shape(row_number) : settings_.img_size,
                                       settings_.seed, settings_.max_image_pixels},
                                      settings_.first_row + row_number, epoch);
        return sample;
    } catch (const Error& error) {
        fail_at(describe(row_number), error);
    }
}

/// Fills in what stands beside the picture; returns the picture's file. The shard is given back
/// before the picture is decoded.
std::vector<uint8_t> WebDataset::read_files(const Row& row, Sample& sample) const {
    const auto reader = cache_.open(shards_[row.shard]);
    sample.caption = read_caption(row.parts, *reader);
    if (settings_.read_timesteps) {
        sample.timestep = read_timestep(row.parts, *reader);
    }
    return read_picture(row.parts, *reader);
}

uint64_t WebDataset::fingerprint() const {
    Fingerprint fingerprint("webdataset");
    fingerprint.add(settings_.skip_low_resolution ? static_cast<uint64_t>(settings_.img_size) : 0)
        .add(static_cast<uint64_t>(settings_.subset_size))
        .add(shards_.size());
    for (const Shard& shard : shards_) {
        fingerprint.add(shard.path().filename().string());
    }
    fingerprint.add(rows_.size());
    for (const Row& row : rows_) {
        fingerprint.add(row.shard).add(row.key).add(row.parts.picture.offset);
    }
    add_to(fingerprint, buckets());
    return fingerprint.value();
}

std::string WebDataset::describe(int64_t row_number) const {
    return fmt::format("{}: {}", source(row_number), rows_.at(static_cast<size_t>(row_number)).key);
}

std::string WebDataset::source(int64_t row_number) const {
    return shards_[rows_.at(static_cast<size_t>(row_number)).shard].path().string();
}

}  // namespace flux::data
