// The cleaned CC12M as a save_to_disk folder. The jpg column holds the files as they were (the
// reference stores them encoded anew), json the member's text.
#include <algorithm>

#include "data/fingerprint.h"
#include "flux/base/error.h"
#include "flux/base/file.h"
#include "flux/base/numbered_locks.h"
#include "flux/base/parallel_for.h"
#include "flux/base/progress.h"
#include "flux/data/clean_cc12m.h"
#include "flux/data/saved_folder.h"

namespace flux::data {
namespace {

constexpr int64_t kRowsForEachFile = 2500;  // about 500 MB
constexpr int64_t kChunkForEachWorker = 8;

SavedFolderPlan plan_of(const CleanSettings& settings, const CleanCc12m& clean) {
    Fingerprint rows("clean-cc12m");
    for (int64_t row = 0; row < clean.size(); ++row) {
        rows.add(static_cast<uint64_t>(clean.index(row)));
    }
    return {.columns = {{"jpg", SavedKind::kImage},
                        {"json", SavedKind::kText},
                        {"txt", SavedKind::kText},
                        {"__key__", SavedKind::kText},
                        {"__url__", SavedKind::kText},
                        {"png", SavedKind::kImage}},
            .input_rows = clean.size(),
            .rows_per_file = kRowsForEachFile,
            .facts = {{"input_dir", settings.input_dir},
                      {"output_size", std::to_string(settings.output_size)},
                      {"chosen_rows", fmt::format("{:016x}", rows.value())}},
            .option = "--output_dir"};
}

std::string_view text_of(const std::vector<uint8_t>& bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

void write_rows(const CleanCc12m& clean, int64_t first, int64_t end, int workers,
                ArrowWriter& writer, Progress& progress) {
    const int64_t chunk = kChunkForEachWorker * workers;
    for (int64_t begin = first; begin < end; begin += chunk) {
        std::vector<CleanRow> rows(static_cast<size_t>(std::min(chunk, end - begin)));
        parallel_for(std::ssize(rows), workers,
                     [&](int64_t i) { rows[static_cast<size_t>(i)] = clean.read(begin + i); });
        for (const CleanRow& row : rows) {
            writer.add({text_of(row.jpg), std::string_view(row.json), std::string_view(row.txt),
                        std::string_view(row.key), std::string_view(row.url),
                        std::string_view(row.png)});
        }
        progress.update(begin + std::ssize(rows));
    }
}

}  // namespace

int64_t write_clean_cc12m(const CleanSettings& settings, const std::filesystem::path& output_dir) {
    const CleanCc12m clean(settings);
    make_writable_folder(output_dir, "choose another with --output_dir");
    NumberedLocks locks(output_dir / ".lock", /*alone=*/true);
    const auto held = locks.try_lock(0);
    if (!held) {
        fail("{}: another process writes there; wait for it, or choose another --output_dir",
             output_dir.string());
    }
    const SavedFolder folder(output_dir, plan_of(settings, clean));
    Progress progress({.label = "clean", .unit = "pictures", .total = clean.size()});
    for (int64_t file = 0; file < folder.files(); ++file) {
        const auto [first, end] = folder.rows_of(file);
        if (!folder.is_written(file)) {
            const std::unique_ptr<ArrowWriter> writer = folder.writer(file);
            write_rows(clean, first, end, settings.num_workers, *writer, progress);
            writer->commit();
        }
        progress.update(end);
    }
    progress.finish();
    return folder.finish();
}

}  // namespace flux::data
