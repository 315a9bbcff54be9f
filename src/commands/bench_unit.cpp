// `bench unit`: one double and one single block, forward and backward, and each operation they are
// made of, against the floor: their matrix products and attention alone, and the memory traffic of
// the optimizer for their weights.
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/randn.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "commands/bench_tools.h"
#include "commands/block_operations.h"
#include "commands/shared.h"
#include "flux/base/dtype.h"
#include "flux/base/file.h"
#include "flux/config/validate.h"
#include "flux/model/blocks.h"
#include "flux/model/latents.h"
#include "flux/train/device.h"
#include "flux/train/execution.h"
#include "flux/train/job.h"
#include "flux/units/precision.h"
#include "flux/units/unit_runner.h"

namespace flux::commands {
namespace {

struct Options {
    int64_t repeats = 10;
    std::string json;
};

void synchronize(c10::Device device) {
    if (!device.is_cpu()) {
        c10::impl::VirtualGuardImpl(device.type()).synchronizeDevice(device.index());
    }
}

/// Median seconds of `pass`, after two that warm up.
double median_seconds(const std::function<void()>& pass, c10::Device device, int64_t repeats) {
    std::vector<double> seconds;
    for (int64_t i = -2; i < repeats; ++i) {
        synchronize(device);
        const double took = seconds_of([&] {
            pass();
            synchronize(device);
        });
        if (i >= 0) {
            seconds.push_back(took);
        }
    }
    return median_of(seconds);
}

/// Forward, then the gradients of all inputs for the results as their own gradients.
void run(const Operation& operation) {
    const at::AutoGradMode enable(true);
    const Tensors results = operation.forward(operation.inputs);
    Tensors gradients;
    for (const at::Tensor& result : results) {
        gradients.push_back(result.detach());
    }
    units::differentiate(results, operation.inputs, gradients);
}

/// The block as training runs it: all gradients, into fp32 sums.
class Block {
public:
    Block(std::unique_ptr<model::FluxUnit> unit, const Shape& shape,
          const model::RotaryTable& positions, bool single)
        : unit_(std::move(unit)),
          store_({unit_->parameters()}, {.compute_dtype = shape.options.dtype().toScalarType(),
                                         .device = shape.options.device()}) {
        store_.initialize(1);
        state_.positions = positions;
        state_.text_tokens = shape.text;
        state_.vec = shape.random({shape.batch, shape.hidden()});
        if (single) {
            state_.joint = shape.tokens(shape.all(), shape.hidden());
        } else {
            state_.img = shape.tokens(shape.image, shape.hidden());
            state_.txt = shape.tokens(shape.text, shape.hidden());
        }
    }

    void run() {
        store_.acquire(0);
        store_.begin_gradients();
        const at::AutoGradMode enable(true);
        const model::FluxState out = unit_->forward(state_, nullptr);
        const auto parameters = store_.tensors(0);
        Tensors inputs(parameters.begin(), parameters.end()), outputs, gradients;
        for (const auto member : model::FluxState::kFlow) {
            if ((state_.*member).defined()) {
                inputs.push_back(state_.*member);
            }
            const at::Tensor& result = out.*member;
            if (result.defined() && !result.is_same(state_.*member)) {
                outputs.push_back(result);
                gradients.push_back(result.detach());
            }
        }
        Tensors found = units::differentiate(outputs, inputs, gradients);
        found.resize(parameters.size());
        store_.add_gradients(0, std::move(found));
        store_.finish_gradients();
        store_.drop_gradients();
    }

    int64_t parameters() const { return store_.parameter_count(); }

private:
    std::unique_ptr<model::FluxUnit> unit_;
    units::ParameterStore store_;
    model::FluxState state_;
};

/// Bytes a second of a copy that no cache holds.
double copy_speed(c10::Device device, int64_t repeats) {
    constexpr int64_t kElements = int64_t{1} << 26;
    const auto options = at::TensorOptions(device).dtype(at::kFloat);
    const at::Tensor from = at::randn({kElements}, options);
    at::Tensor to = at::empty({kElements}, options);
    return 8.0 * kElements / median_seconds([&] { to.copy_(from); }, device, repeats);
}

/// AdamW reads value, gradient and moments in fp32, and writes all but the gradient.
constexpr double kOptimizerBytes = 7 * 4;

nlohmann::ordered_json measure_block(const std::string& name, Block& block,
                                     std::vector<Operation> operations, const Shape& shape,
                                     double bytes_per_s, const Options& options) {
    const c10::Device device = shape.options.device();
    const double whole = median_seconds([&] { block.run(); }, device, options.repeats);
    double floor = 0;
    nlohmann::ordered_json rows = nlohmann::ordered_json::array();
    fmt::print("{:<28}{:>7}{:>12}{:>14}{:>12}{:>16}\n", name, "times", "ms", "GFLOP/s", "GB/s",
               "of copy speed");
    for (Operation& operation : operations) {
        operation.seconds = median_seconds([&] { run(operation); }, device, options.repeats);
        if (operation.in_floor) {
            floor += static_cast<double>(operation.times) * operation.seconds;
        }
        const double gbs = operation.bytes / operation.seconds * 1e-9;
        fmt::print("  {:<26}{:>7}{:>12.3f}{:>14.1f}{:>12.1f}{:>15.0f}%\n", operation.name,
                   operation.times, 1e3 * operation.seconds,
                   operation.flops / operation.seconds * 1e-9, gbs, 1e11 * gbs / bytes_per_s);
        rows.push_back({{"operation", operation.name},
                        {"times", operation.times},
                        {"seconds", operation.seconds},
                        {"flops", operation.flops},
                        {"bytes", operation.bytes}});
    }
    const double optimizer =
        kOptimizerBytes * static_cast<double>(block.parameters()) / bytes_per_s;
    fmt::print("  {:<26}{:>19.3f}\n", "block, all of it", 1e3 * whole);
    fmt::print("  {:<26}{:>19.3f}  ({:.2f} x; products and attention alone)\n", "floor",
               1e3 * floor, whole / floor);
    fmt::print("  {:<26}{:>19.3f}\n\n", "optimizer's traffic", 1e3 * optimizer);
    return {{"block", name},
            {"seconds", whole},
            {"floor_s", floor},
            {"optimizer_floor_s", optimizer},
            {"operations", rows}};
}

Shape shape_of(const config::JobConfig& config) {
    const c10::Device device = train::prepare_device(config);
    const int64_t side = config.training.img_size / 16;
    model::FluxConfig dimensions = train::model_dimensions(config);
    train::check_float8_layers(config, dimensions);
    ++dimensions.depth_single_blocks;  // so that the first is not the last, which does less
    train::check_float8_device(config, device);
    const model::Execution execution = train::execution(config);
    return {.model = dimensions,
            .execution = execution,
            .path = execution.path,
            .options = at::TensorOptions(device).dtype(
                units::compute_dtype(config.training.mixed_precision_param, device)),
            .batch = config.training.batch_size,
            .image = side * side,
            .text = config.encoder.max_t5_encoding_len};
}

void bench_blocks(const config::JobConfig& config, const Options& options) {
    const Shape shape = shape_of(config);
    const c10::Device device = shape.options.device();
    const int64_t side = config.training.img_size / 8;
    const model::RotaryTable positions = model::rotary_table(
        at::cat({model::text_ids(shape.text, device), model::image_ids(side, side, device)}, 1),
        shape.model);
    const double bytes_per_s = copy_speed(device, options.repeats);
    fmt::print(
        "{}, {}{}: batch {}, {} + {} tokens, hidden {}; a copy reads and writes {:.1f} GB/s\n\n",
        train::device_name(device), long_name(shape.options.dtype().toScalarType()),
        train::products_text(config, train::model_dimensions(config)), shape.batch, shape.text,
        shape.image, shape.hidden(), bytes_per_s * 1e-9);
    nlohmann::ordered_json all = nlohmann::ordered_json::array();
    {
        Block block(model::make_double_block(shape.model, shape.execution, 0), shape, positions,
                    false);
        all.push_back(measure_block("double block", block,
                                    double_block_operations(shape, positions), shape, bytes_per_s,
                                    options));
    }
    Block block(model::make_single_block(shape.model, shape.execution, 0), shape, positions, true);
    all.push_back(measure_block("single block", block, single_block_operations(shape, positions),
                                shape, bytes_per_s, options));
    if (!options.json.empty()) {
        write_text(options.json, all.dump(2) + "\n");
    }
}

}  // namespace

int bench_unit(const Words& words) {
    Options options;
    const std::vector<config::Flag> flags{
        {"repeats", "N", "of each; the median is shown (default 10)", &options.repeats},
        {"json", "FILE", "also writes the figures there", &options.json}};
    const config::CommandLine command_line = config::parse_command_line(words, flags);
    if (command_line.help) {
        fmt::print(
            "Usage: flux_train bench unit --job.config_file FILE [--section.key=value ...]\n\n"
            "One double and one single block of the configured shape, forward and backward, and "
            "what they are made of.\n\n{}",
            config::flags_help(flags));
        return 0;
    }
    check_between("bench unit", "--repeats", options.repeats, 1, 10'000);
    check_free(options.json);
    check_alone("bench unit");
    const config::LoadedConfig loaded = config::load_config(command_line);
    config::with_places(loaded, [&] {
        config::validate(loaded);
        bench_blocks(loaded.config, options);
    });
    return 0;
}

}  // namespace flux::commands
