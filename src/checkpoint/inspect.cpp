#include "flux/checkpoint/inspect.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <set>

#include "flux/base/dtype.h"
#include "flux/base/shape.h"

namespace flux::checkpoint {
namespace {

/// "13813456 bytes (13.8 MB)"
std::string size_text(uint64_t bytes) {
    return fmt::format("{} bytes ({:.1f} MB)", bytes, static_cast<double>(bytes) * 1e-6);
}

std::string run_text(const Checkpoint& checkpoint) {
    const RunState& run = checkpoint.run();
    std::string text = fmt::format("checkpoint         {}\n", checkpoint.folder().string());
    text += fmt::format("step               {}\n", run.step);
    text +=
        fmt::format("optimizer steps    {} ({} skipped)\n", run.optimizer_step, run.skipped_steps);
    text += fmt::format("samples            {}\n", run.samples);
    text += fmt::format("seed               {}\n", run.seed);
    text += fmt::format("global batch size  {}\n", run.global_batch_size);
    text +=
        fmt::format("validated          {}\n",
                    run.validated_step < 0 ? "never" : fmt::format("step {}", run.validated_step));
    if (run.target_reached) {
        text += "ended early        its validation loss reached eval.target_eval_loss\n";
    }
    return text;
}

struct Total {
    int64_t tensors = 0;
    int64_t elements = 0;
    std::set<std::string_view> dtypes;
};

std::string totals_text(const Checkpoint& checkpoint) {
    std::map<std::string, Total> totals;
    for (const TensorEntry& entry : checkpoint.tensors()) {
        Total& total = totals[entry.kind];
        ++total.tensors;
        total.elements += checked_numel(entry.shape).value();
        total.dtypes.insert(long_name(entry.dtype));
    }
    std::string text;
    const auto line = [&](const std::string& kind) {
        const Total& total = totals[kind];
        text += fmt::format("{:<18} {} tensors, {} {}, {}\n", kind, total.tensors, total.elements,
                            kind == kParam ? "parameters" : "elements",
                            fmt::join(total.dtypes, " and "));
    };
    if (totals.contains(kParam)) {
        line(kParam);
    }
    for (const auto& [kind, total] : totals) {
        if (kind != kParam) {
            line(kind);
        }
    }
    return text;
}

std::string files_text(const Checkpoint& checkpoint) {
    std::map<std::string, int64_t> slices;
    for (const TensorEntry& entry : checkpoint.tensors()) {
        for (const Slice& slice : entry.slices) {
            ++slices[slice.file];
        }
    }
    uint64_t all = 0;
    std::string lines;
    for (const auto& [file, count] : slices) {
        const uint64_t bytes = std::filesystem::file_size(checkpoint.folder() / file);
        all += bytes;
        lines += fmt::format("  {}  {}, {} slices\n", file, size_text(bytes), count);
    }
    return fmt::format("files              {}, {}\n{}", slices.size(), size_text(all), lines);
}

}  // namespace

std::string inspection_text(const Checkpoint& checkpoint) {
    std::string text = run_text(checkpoint) + totals_text(checkpoint) + files_text(checkpoint);
    text += "tensors: kind, name, dtype, shape; below each its elements, file and crc32c\n";
    for (const TensorEntry& entry : checkpoint.tensors()) {
        text += fmt::format("{:<10} {} {} {}\n", entry.kind, entry.name, short_name(entry.dtype),
                            shape_text(entry.shape));
        for (const Slice& slice : entry.slices) {
            text += fmt::format("           [{}, {}) {} {:08x}\n", slice.begin, slice.end,
                                slice.file, slice.crc32c);
        }
    }
    return text;
}

}  // namespace flux::checkpoint
