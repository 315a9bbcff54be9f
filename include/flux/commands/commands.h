// The subcommands of flux_train. Each takes the words after its name and returns the process's exit
// code.
#pragma once

#include <string>
#include <vector>

namespace flux::commands {

using Words = std::vector<std::string>;

/// Trains, or goes on training. Also what runs without a subcommand.
int train(const Words& words);
/// Draws pictures with a checkpoint.
int sample(const Words& words);
/// Encodes a data set of pictures for training without encoders.
int preprocess(const Words& words);
/// `data ...`: tools that make, clean and look at data sets.
int data(const Words& words);
/// Says what a job needs on GPUs that need not be here.
int plan(const Words& words);
/// Writes a run's report anew, or compares runs.
int report(const Words& words);
/// `bench ...`: how fast parts of the program are here.
int bench(const Words& words);
/// `checkpoint ...`: writes the weights for other programs, tells what a checkpoint holds.
int checkpoint(const Words& words);

/// Finds the subcommand in `words` (without the program's name) and runs it.
int run(const Words& words);

}  // namespace flux::commands
