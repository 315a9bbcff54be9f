// How a process runs its steps: operation by operation, or, where training.compile asks for it and
// there can be one, as a graph of the whole step, which the host starts with one call.
//
//   micro-batches (encoded, drawn) --copied--> fixed tensors -+
//   learning rate, stop, bad, rehearsal -----> fixed scalars -+-> graph -> result (fixed scalars)
//
// A graph is of one shape of micro-batch: each gets its own after some steps that run operation by
// operation, in which libraries choose their kernels and take their workspaces.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/Stream.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "flux/kernels/device_graph.h"
#include "flux/train/train_step.h"

namespace flux::train {

/// Shapes that get a graph; steps of further ones run operation by operation.
inline constexpr size_t kMostGraphs = 32;
/// Steps of a shape before the one that is recorded.
inline constexpr int64_t kStepsBeforeGraph = 2;

class StepRunner {
public:
    /// `parts` must outlive it. `device`: the model's. With `captures` steps become graphs.
    StepRunner(const StepParts& parts, c10::Device device, bool captures);

    /// As train_step(). With graphs all micro-batches are read before the first is computed, and
    /// the result lies in tensors that the next step may write again. Global batch size
    /// and norm must be the same in all steps.
    StepResult step(const StepSettings& settings, double lr, const NextMicroBatch& next);

    /// Steps that were a graph's.
    int64_t replayed() const { return replayed_; }

private:
    /// What a graph is fixed to: dtypes and sizes of a micro-batch, how many, what they are told.
    using Shape = std::vector<int64_t>;
    struct Captured {
        std::vector<encoders::MicroBatch> inputs;  // what the graph reads
        std::optional<StepNumbers> numbers;
        StepResult result;
        int64_t steps = 0;
        std::unique_ptr<kernels::DeviceGraph> graph;
    };

    static Shape shape_of(const std::vector<encoders::MicroBatch>& batches);
    Captured* find(const std::vector<encoders::MicroBatch>& batches);
    void record(Captured& captured, const StepSettings& settings);
    template <class Work>
    void beside(const Work& work);

    StepParts parts_;
    c10::Device device_;
    bool captures_;
    std::optional<c10::Stream> stream_;  // on which graphs are recorded; none on a CPU
    std::map<Shape, Captured> captured_;
    const kernels::DeviceGraph* first_graph_ = nullptr;
    bool told_of_many_ = false;
    int64_t replayed_ = 0;
};

}  // namespace flux::train
