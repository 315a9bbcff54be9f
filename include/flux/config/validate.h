// Rules that no single value can break: contradictions between options, and options whose part of
// the program does not exist yet. Rules about model dimensions are checked where flavors are known,
// in model/.
#pragma once

#include <cstdint>

#include "flux/config/load_config.h"

namespace flux::config {

/// Rules for every command. Throws ConfigError naming place, value, rule and remedy.
void validate(const LoadedConfig& loaded);

/// Further rules for a job that trains.
void validate_training(const LoadedConfig& loaded);

/// Throws ConfigError if an option asks for something that is not built yet, with the values that
/// are possible.
void refuse_unbuilt(const LoadedConfig& loaded);

/// Samples per optimizer step on so many processes: training.global_batch_size or its default.
int64_t global_batch_size(const Training& training, int64_t processes);

/// activation_checkpoint.selective_ac_option: exactly one of the two is not zero.
struct SelectiveRecompute {
    int64_t every_nth = 0;  // "2": every second unit
    double fraction = 0;    // "0.5": this share of the units
};
/// Throws ConfigError for any other text.
SelectiveRecompute parse_selective_option(const ActivationCheckpoint& section);

}  // namespace flux::config
