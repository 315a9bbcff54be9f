// The text of scripts/wandb_forward.py, so that the program finds it wherever it is installed.
#pragma once

namespace flux::metrics {

extern const char* const kWandbScript;

}  // namespace flux::metrics
