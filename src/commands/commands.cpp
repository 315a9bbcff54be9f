#include "flux/commands/commands.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <array>
#include <string_view>

#include "commands/shared.h"
#include "flux/base/error.h"
#include "flux/base/progress.h"

namespace flux::commands {
namespace {

constexpr std::array<Tool, 8> kCommands{{
    {"train", "train, or go on training from the newest checkpoint (the default)", train},
    {"sample", "draw pictures with a checkpoint", sample},
    {"preprocess", "encode a data set of pictures once, for training without encoders", preprocess},
    {"data", "make, clean and look at data sets", data},
    {"checkpoint", "write a checkpoint's weights for other programs; look at one", checkpoint},
    {"plan", "what a job needs of memory, links and time on GPUs that need not be here", plan},
    {"report", "write a run's report anew, or compare runs on one page", report},
    {"bench", "measure steps, blocks, data path, checkpoints and exchanges here", bench},
}};

}  // namespace

int run(const Words& words) {
    if (words.size() == 1 && words.front() == "--version") {
        fmt::print("flux_train {}\n", FLUX_VERSION);
        return 0;
    }
    progress_interval_s();  // refused before anything is opened
    if (words.empty() || words.front().starts_with("-")) {
        return train(words);
    }
    for (const Tool& command : kCommands) {
        if (words.front() == command.name) {
            return command.run({words.begin() + 1, words.end()});
        }
    }
    std::vector<std::string_view> names;
    for (const Tool& command : kCommands) {
        names.push_back(command.name);
    }
    fail_config("command line: {}: unknown subcommand; there are {}", words.front(),
                fmt::join(names, ", "));
}

std::string subcommands_help() {
    std::string text = "Subcommands (each has its own --help):\n";
    for (const Tool& command : kCommands) {
        text += fmt::format("  {:<12}{}\n", command.name, command.help);
    }
    return text;
}

}  // namespace flux::commands
