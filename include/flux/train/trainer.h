// The training loop: data -> conditioning -> step -> metrics -> validation -> checkpoint, on CPU
// and GPU alike.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "flux/base/folder_lock.h"
#include "flux/checkpoint/saver.h"
#include "flux/data/dataset.h"
#include "flux/data/loader.h"
#include "flux/encoders/conditioning.h"
#include "flux/eval/validator.h"
#include "flux/metrics/live_view.h"
#include "flux/model/mmdit.h"
#include "flux/optim/adamw.h"
#include "flux/optim/ema.h"
#include "flux/optim/lr_schedule.h"
#include "flux/train/figures_queue.h"
#include "flux/train/job.h"
#include "flux/train/profiler.h"
#include "flux/train/run_log.h"
#include "flux/train/step_runner.h"
#include "flux/train/stop_signal.h"

namespace flux::train {

class Trainer {
public:
    /// Opens data sets and encoders, builds the model and loads the checkpoint to go on from; only
    /// then touches the run's folder. `job` and `world` must outlive it; all processes of the job
    /// must build one.
    Trainer(const ResolvedJob& job, dist::World& world);

    /// Trains to the end. Returns the process's exit code: 0, or kExitSavedUnfinished after a stop
    /// signal. Throws Error when the run cannot go on (bad data, lasting non-finite loss, no room
    /// for a checkpoint).
    int run();

private:
    enum class Outcome { kGoOn, kTargetReached, kStopped };

    void open_folder();
    void begin();
    void resume();
    void warm_up();
    encoders::MicroBatch next_micro_batch();
    void step();
    int64_t bad_samples_of_step();
    bool log_due() const;
    bool save_due() const;
    bool all_figures_due() const;
    void read_figures(bool all);
    void take_in(const ReadStep& step);
    void count_skipped(const ReadStep& step);
    bool validation_due() const;
    int loop();
    bool stop_agreed();
    void together_or_save(const std::string& topic, const std::function<void()>& part);
    Outcome validate();
    std::optional<eval::ValidationResult> validation_pass();
    bool draw_pictures();
    enum class Save { kPeriodic, kStopping, kLast };
    void save(Save occasion);
    void save_trained();
    int finish(const char* status);
    int leave();

    const ResolvedJob& job_;
    dist::World& world_;
    dist::Mesh mesh_;
    // What can be refused comes before what takes time and memory.
    std::optional<metrics::LiveView> view_;
    encoders::Conditioning conditioning_;
    std::unique_ptr<data::Dataset> dataset_;
    std::unique_ptr<data::Dataset> validation_set_;
    model::Mmdit model_;
    optim::AdamW optimizer_;
    std::unique_ptr<optim::Ema> ema_;  // null: no average is kept
    std::optional<StepRunner> steps_;
    optim::LrSchedule lr_;
    std::optional<eval::Validator> validator_;
    std::optional<FolderLock> lock_;
    std::optional<RunLog> log_;
    std::optional<data::Loader> loader_;
    StopSignal stop_;
    std::optional<checkpoint::Saver> saver_;
    Profiler profiler_;
    bool stopping_ = false;  // all processes know
    StepFigures figures_;  // step and samples: as started; the rest: of the last step that is read
    FiguresQueue unread_;
    int64_t skipped_in_a_row_ = 0;
    int64_t told_bad_samples_ = 0;  // of this process
    int64_t lr_begin_ = 0;          // step at which the learning rate's course began
    int64_t data_begin_ = 0;        // samples trained on when the order of data last began
    int64_t saved_step_ = -1;
    bool trained_ = false;  // this process has done a step
    int64_t validated_step_ = -1;
    bool target_reached_ = false;
};

}  // namespace flux::train
