#include "flux/metrics/live_view.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <iterator>
#include <mutex>
#include <string_view>

#include "flux/base/file.h"
#include "http_server.h"

namespace flux::metrics {
namespace {

constexpr double kBytesPerGib = 1024.0 * 1024.0 * 1024.0;

std::string number_text(double value) {
    if (std::isnan(value)) {
        return "NaN";
    }
    return std::isinf(value) ? (value > 0 ? "+Inf" : "-Inf") : fmt::format("{}", value);
}

/// Writes one metric after the other.
class Exposition {
public:
    void counter(std::string_view name, std::string_view help, int64_t value) {
        head(name, help, "counter");
        fmt::format_to(std::back_inserter(text_), "flux_train_{} {}\n", name, value);
    }
    void gauge(std::string_view name, std::string_view help, double value) {
        head(name, help, "gauge");
        fmt::format_to(std::back_inserter(text_), "flux_train_{} {}\n", name, number_text(value));
    }
    void gauges(std::string_view name, std::string_view help, std::string_view label,
                const std::array<double, flow::kValidationTimesteps>& values) {
        head(name, help, "gauge");
        for (size_t k = 0; k < values.size(); ++k) {
            fmt::format_to(std::back_inserter(text_), "flux_train_{}{{{}=\"{}\"}} {}\n", name,
                           label, k, number_text(values[k]));
        }
    }
    std::string finish() && { return std::move(text_); }

private:
    void head(std::string_view name, std::string_view help, std::string_view type) {
        fmt::format_to(std::back_inserter(text_),
                       "# HELP flux_train_{0} {1}\n# TYPE flux_train_{0} {2}\n", name, help, type);
    }

    std::string text_;
};

void add(Exposition& out, const TrainLine& line) {
    out.counter("steps_total", "Optimizer steps since the beginning of the run.", line.step);
    out.counter("samples_total", "Samples consumed since the beginning of the run.", line.samples);
    out.counter("skipped_steps_total", "Steps skipped for a loss or gradient that is not finite.",
                line.skipped);
    out.gauge("loss", "Training loss of the last logged step.", line.loss);
    out.gauge("grad_norm", "Norm of the gradient before clipping.", line.grad_norm);
    out.gauge("learning_rate", "Learning rate of the last logged step.", line.lr);
    out.gauge("samples_per_second", "Throughput of all processes.", line.samples_per_s);
    out.gauge("tflops", "TFLOP/s of one device.", line.tflops);
    if (line.mfu) {
        out.gauge("mfu_ratio", "Share of one device's peak.", *line.mfu);
    }
    out.gauge("memory_bytes", "Memory in use on the first device.", line.memory_gib * kBytesPerGib);
    out.gauge("data_wait_ratio", "Share of the step time spent waiting for data.", line.data_wait);
    out.gauge("process_seconds", "Time since the process was started.", line.time_s);
}

void add(Exposition& out, const ValidationLine& line) {
    out.gauge("validation_step", "Step of the last validation.", static_cast<double>(line.step));
    out.gauge("validation_loss", "Mean over the validation samples.", line.val_loss);
    out.gauges("validation_timestep_loss", "Mean over the samples of one of the eight timesteps.",
               "timestep", line.val_loss_t);
    out.gauge("validation_timestep_mean_loss", "Mean of the eight means.", line.val_loss_t_mean);
    out.gauge("validation_samples", "Samples of the last validation.",
              static_cast<double>(line.val_samples));
}

}  // namespace

std::string prometheus_text(const std::optional<TrainLine>& train,
                            const std::optional<ValidationLine>& validation) {
    Exposition out;
    if (train) {
        add(out, *train);
    }
    if (validation) {
        add(out, *validation);
    }
    return std::move(out).finish();
}

struct LiveView::State {
    State(const std::string& at, int port)
        : host(at),
          server({host, port}, [this](std::string_view path) { return content_of(path); }) {}

    std::optional<HttpContent> content_of(std::string_view path) {
        if (path == "/metrics") {
            const std::lock_guard lock(mutex);
            return HttpContent{.type = "text/plain; version=0.0.4; charset=utf-8",
                               .body = prometheus_text(train, validation)};
        }
        return path == "/" ? std::optional(page_content()) : std::nullopt;
    }

    HttpContent page_content() {
        const std::filesystem::path file = [&] {
            const std::lock_guard lock(mutex);
            return page;
        }();
        if (file.empty() || !std::filesystem::exists(file)) {
            return {.status = 503,
                    .type = "text/plain; charset=utf-8",
                    .body = "The run is starting: there is no report yet.\n"};
        }
        return {.type = "text/html; charset=utf-8", .body = read_text(file)};
    }

    std::string host;
    std::mutex mutex;  // of the next three
    std::filesystem::path page;
    std::optional<TrainLine> train;
    std::optional<ValidationLine> validation;
    HttpServer server;  // the last: its thread uses the others
};

LiveView::LiveView(const std::string& host, int port)
    : state_(std::make_unique<State>(host, port)) {}

LiveView::~LiveView() = default;

int LiveView::port() const { return state_->server.port(); }

std::string LiveView::address() const {
    return fmt::format("http://{}:{}/", host_in_url(state_->host), port());
}

void LiveView::show(const std::filesystem::path& page) {
    const std::lock_guard lock(state_->mutex);
    state_->page = page;
}

void LiveView::train(const TrainLine& line) {
    const std::lock_guard lock(state_->mutex);
    state_->train = line;
}

void LiveView::validation(const ValidationLine& line) {
    const std::lock_guard lock(state_->mutex);
    state_->validation = line;
}

}  // namespace flux::metrics
