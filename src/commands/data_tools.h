// The subcommands of `flux_train data`, each taking the words after its name.
#pragma once

#include "flux/commands/commands.h"

namespace flux::commands {

int data_clean_cc12m(const Words& words);
int data_coco(const Words& words);
int data_find_problematic(const Words& words);
int data_inspect(const Words& words);

}  // namespace flux::commands
