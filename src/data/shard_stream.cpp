#include "flux/data/shard_stream.h"

#include <algorithm>
#include <sstream>
#include <utility>

#include "data/fingerprint.h"
#include "data/shard_window.h"
#include "flux/base/error.h"
#include "flux/base/file.h"
#include "flux/base/log.h"

namespace flux::data {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kShardsStream = 2;
constexpr uint64_t kRowsStream = uint64_t{1} << 63;

size_t shard_of(int64_t row) { return static_cast<size_t>(row >> kShardRowBits); }
int64_t row_in_shard(int64_t row) { return row & ((int64_t{1} << kShardRowBits) - 1); }
int64_t row_number(size_t shard, int64_t row) {
    return static_cast<int64_t>(shard) << kShardRowBits | row;
}

}  // namespace

ShardStream::ShardStream(const ShardStreamSettings& settings)
    : settings_(settings),
      names_(name_shards(settings.shards.path, settings.shards.remote)),
      permutation_(shards(), settings.shards.seed, kShardsStream),
      counts_(names_.size()),
      begins_{0} {
    std::fill(counts_.begin(), counts_.end(), -1);
    read_counts();
    window_ = std::make_unique<ShardWindow>(names_, settings_.shards, settings_.ahead,
                                            [this](int64_t ordinal) { return shard_at(ordinal); });
    log::info("{}: {} tar shards, read one after the other in a keyed order", settings_.shards.path,
              names_.size());
}

ShardStream::~ShardStream() = default;

size_t ShardStream::shard_at(int64_t ordinal) const {
    return static_cast<size_t>(
        permutation_.at(ordinal % shards(), static_cast<uint32_t>(ordinal / shards())));
}

Position ShardStream::at(int64_t sample, const std::stop_token& stop) const {
    std::unique_lock lock(mutex_);
    while (begins_.back() <= sample) {
        const int64_t ordinal = std::ssize(begins_) - 1;
        begins_.push_back(begins_.back() + rows_of(ordinal, stop));
        check_epoch(ordinal);
    }
    const auto end = std::upper_bound(begins_.begin(), begins_.end(), sample);
    const int64_t ordinal = end - begins_.begin() - 1;
    window_->advance(ordinal);
    const int64_t begin = begins_[static_cast<size_t>(ordinal)];
    const auto epoch = static_cast<uint32_t>(ordinal / shards());
    const size_t shard = shard_at(ordinal);
    const Permutation rows(*end - begin, settings_.shards.seed, kRowsStream | shard);
    lock.unlock();
    note_count(shard, window_->get(shard, stop)->size());  // waits here, where a stop is heard
    return {epoch, row_number(shard, rows.at(sample - begin, epoch))};
}

/// Of the n-th shard to come; opens it where that is not known.
int64_t ShardStream::rows_of(int64_t ordinal, const std::stop_token& stop) const {
    const size_t shard = shard_at(ordinal);
    if (counts_[shard] < 0) {
        window_->advance(ordinal);
        note_count(shard, window_->get(shard, stop)->size());
        write_counts();
    }
    return counts_[shard];
}

/// The order of samples rests on the counts: one that differs means another data set.
void ShardStream::note_count(size_t shard, int64_t rows) const {
    int64_t known = -1;
    if (!counts_[shard].compare_exchange_strong(known, rows) && known != rows) {
        fail(
            "{}: holds {} samples, and held {} when it was first read: the shard has changed; "
            "restore it, or begin anew with --job.restart",
            names_[shard], rows, known);
    }
}

/// Throws Error at the end of an epoch without any sample, which would be followed by others.
void ShardStream::check_epoch(int64_t ordinal) const {
    const int64_t next = ordinal + 1;
    if (next % shards() == 0 && begins_.back() == begins_[static_cast<size_t>(next - shards())]) {
        fail("{}: none of the {} shards holds a sample that can be used; the warnings say why",
             settings_.shards.path, shards());
    }
}

int64_t ShardStream::size() const {
    int64_t known = 0, rows = 0;
    for (const auto& count : counts_) {
        if (const int64_t value = count; value >= 0) {
            ++known;
            rows += value;
        }
    }
    return std::max<int64_t>(known == 0 ? 1 : rows + rows / known * (shards() - known), 1);
}

int64_t ShardStream::rows_like(int64_t row) const { return counts_[shard_of(row)]; }

int64_t ShardStream::row_like(int64_t row, int64_t n) const { return row_number(shard_of(row), n); }

Sample ShardStream::read(int64_t row, uint32_t epoch) const {
    const size_t shard = shard_of(row);
    Sample sample = window_->get(shard)->rows->read(row_in_shard(row), epoch);
    sample.row = row;
    return sample;
}

std::string ShardStream::caption(int64_t row) const {
    return window_->get(shard_of(row))->rows->caption(row_in_shard(row));
}

uint64_t ShardStream::fingerprint() const {
    Fingerprint fingerprint("shard_stream");
    fingerprint
        .add(settings_.shards.skip_low_resolution ? static_cast<uint64_t>(settings_.shards.img_size)
                                                  : 0)
        .add(names_.size());
    for (const std::string& name : names_) {
        const fs::path file =
            is_remote(name) ? cached_path(name, settings_.shards.remote) : fs::path(name);
        fingerprint.add(file.filename().string());
    }
    return fingerprint.value();
}

std::string ShardStream::describe(int64_t row) const {
    return fmt::format("{}: row {}", source(row), row_in_shard(row));
}

std::string ShardStream::source(int64_t row) const { return names_.at(shard_of(row)); }

fs::path ShardStream::counts_file() const {
    return settings_.shards.index_folder / fmt::format("{:016x}.counts", fingerprint());
}

/// Lines of a shard's place and its rows. One that cannot be read is as good as none.
void ShardStream::read_counts() {
    if (settings_.shards.index_folder.empty() || !fs::is_regular_file(counts_file())) {
        return;
    }
    std::istringstream lines(read_text(counts_file()));
    int64_t shard = 0, rows = 0;
    while (lines >> shard >> rows) {
        if (shard >= 0 && shard < shards() && rows >= 0) {
            counts_[static_cast<size_t>(shard)] = rows;
        }
    }
}

/// Also those of shards without any row: one that is mended later stays left out of this run.
void ShardStream::write_counts() const {
    if (settings_.shards.index_folder.empty()) {
        return;
    }
    std::string lines;
    for (size_t shard = 0; shard < counts_.size(); ++shard) {
        if (counts_[shard] >= 0) {
            lines += fmt::format("{} {}\n", shard, counts_[shard].load());
        }
    }
    try {
        make_writable_folder(settings_.shards.index_folder,
                             "choose another with --job.dump_folder");
        write_text(counts_file(), lines);
    } catch (const Error& error) {
        if (!std::exchange(warned_, true)) {
            log::warning("{}; a resumed run opens the shards again to count their samples",
                         error.what());
        }
    }
}

}  // namespace flux::data
