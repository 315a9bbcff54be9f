// The names that a run gives to what it writes into its folder (job.dump_folder). Options that name
// further folders there may take none of them.
#pragma once

#include <array>
#include <string_view>

namespace flux::config {

/// What a run leaves behind; a new run in the folder sets it aside, in earlier-1/ and so on.
inline constexpr std::array<std::string_view, 10> kRunFiles{
    "report.json",           "config.toml", "train.log",    "metrics.jsonl", "report.html",
    "mlperf_compliance.log", "wandb",       "wandb_run_id", "wandb_sent",    "wandb_forward.log"};

/// What it holds only while it goes on.
inline constexpr std::array<std::string_view, 2> kRunMarks{".lock", ".processes"};

/// Earlier runs are kept in folders whose names begin with it.
inline constexpr std::string_view kEarlierRun = "earlier-";

}  // namespace flux::config
