// `data coco`: the COCO validation set as tar shards, with the option names of the reference.
#include <fmt/core.h>

#include <limits>

#include "commands/data_tools.h"
#include "commands/shared.h"
#include "flux/base/error.h"
#include "flux/base/log.h"
#include "flux/data/coco.h"

namespace flux::commands {
namespace {

struct Options {
    std::string images, captions, out, tsv, duplicates = "no";
    int64_t samples = 29'696, samples_per_shard = 1000, seed = 2023, width = 256, height = 256,
            workers = 8;
};

std::vector<config::Flag> flags_of(Options& options) {
    return {
        {"input-images-dir", "DIR", "the pictures, COCO_val2014_<12 digits>.jpg", &options.images},
        {"input-captions-file", "FILE", "COCO's captions_val2014.json", &options.captions},
        {"output-dir", "DIR", "where the shards go", &options.out},
        {"output-tsv-file", "FILE", "table of the chosen captions", &options.tsv},
        {"num-samples", "N", "pictures, a multiple of 8 (default 29696)", &options.samples},
        {"samples-per-shard", "N", "most pictures in one tar file (default 1000)",
         &options.samples_per_shard},
        {"seed", "N", "of the choice (default 2023)", &options.seed},
        {"width", "N", "of the pictures in pixels (default 256)", &options.width},
        {"height", "N", "of the pictures in pixels (default 256)", &options.height},
        {"num-workers", "N", "threads; the result is the same (default 8)", &options.workers},
        {"allow-duplicate-images", "yes|no", "several captions of one picture (default no)",
         &options.duplicates}};
}

void check(const Options& options) {
    if (options.images.empty() || options.captions.empty() || options.out.empty() ||
        options.tsv.empty()) {
        fail_config(
            "command line: data coco: --input-images-dir, --input-captions-file, --output-dir and "
            "--output-tsv-file must be given");
    }
    if (options.duplicates != "yes" && options.duplicates != "no") {
        fail_config("command line: --allow-duplicate-images {}: must be yes or no",
                    options.duplicates);
    }
    if (options.seed > std::numeric_limits<uint32_t>::max()) {
        fail_config("command line: --seed {}: must be 0 to {}", options.seed,
                    std::numeric_limits<uint32_t>::max());
    }
    constexpr int64_t kMost = 1 << 14;
    if (options.width > kMost || options.height > kMost || options.workers > kMost) {
        fail_config("command line: data coco: --width, --height, --num-workers: at most {}", kMost);
    }
}

}  // namespace

int data_coco(const Words& words) {
    Options options;
    const std::vector<config::Flag> flags = flags_of(options);
    const config::CommandLine command_line = config::parse_command_line(words, flags);
    if (command_line.help) {
        fmt::print(
            "Usage: flux_train data coco --input-images-dir DIR --input-captions-file FILE "
            "--output-dir DIR --output-tsv-file FILE\n\n{}",
            config::flags_help(flags));
        return 0;
    }
    refuse_configuration(command_line, "data coco");
    check(options);
    const data::CocoResult result =
        data::write_coco({.input_images_dir = options.images,
                          .input_captions_file = options.captions,
                          .output_dir = options.out,
                          .output_tsv_file = options.tsv,
                          .num_samples = options.samples,
                          .samples_per_shard = options.samples_per_shard,
                          .seed = static_cast<uint32_t>(options.seed),
                          .width = static_cast<int>(options.width),
                          .height = static_cast<int>(options.height),
                          .num_workers = static_cast<int>(options.workers),
                          .allow_duplicate_images = options.duplicates == "yes"});
    log::info("{} of {} pictures in {} shards in {}; captions in {}", result.written,
              result.samples, result.shards, options.out, options.tsv);
    if (result.written < result.samples) {
        log::warning(
            "{} pictures are left out, as named above: the timesteps no longer have equally many, "
            "and a validation gives another mean: repair the pictures, and write the set again",
            result.samples - result.written);
    }
    return 0;
}

}  // namespace flux::commands
