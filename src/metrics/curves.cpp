#include "curves.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <numeric>

namespace flux::metrics {
namespace {

constexpr double kLogScaleRatio = 50;  // a wider range is unreadable on a linear axis

void append_numbers(std::string& out, const std::vector<double>& numbers) {
    out += '[';
    for (size_t i = 0; i < numbers.size(); ++i) {
        fmt::format_to(std::back_inserter(out), "{}{:.6g}", i == 0 ? "" : ",", numbers[i]);
    }
    out += ']';
}

/// Steps and samples are whole numbers that six digits would blur.
void append_places(std::string& out, const std::vector<double>& places) {
    out += '[';
    for (size_t i = 0; i < places.size(); ++i) {
        const int digits = places[i] == std::floor(places[i]) ? 0 : 4;
        fmt::format_to(std::back_inserter(out), "{}{:.{}f}", i == 0 ? "" : ",", places[i], digits);
    }
    out += ']';
}

bool needs_log_scale(const Plot& plot) {
    double least = std::numeric_limits<double>::infinity();
    double greatest = 0;
    for (const Series& series : plot.series) {
        for (const double value : series.points.value) {
            least = std::min(least, value);
            greatest = std::max(greatest, value);
        }
    }
    return plot.scale == Scale::kFitOrLog && least > 0 && greatest > kLogScaleRatio * least;
}

/// The validation and the smoothed training loss over another axis than the step.
Plot loss_over(const History& history, Axis axis) {
    Plot plot{.title = axis == Axis::kSamples ? "Loss over samples" : "Loss over time",
              .axis = "samples"};
    Column loss = smooth(history.column("loss", axis));
    Column validation = history.column("val_loss", axis);
    if (axis == Axis::kSeconds) {
        const TimeUnit unit = time_unit(history.seconds());
        plot.axis = unit.name;
        loss = in_unit(std::move(loss), unit);
        validation = in_unit(std::move(validation), unit);
    }
    plot.series = {{"training, smoothed", "line", "--c0", std::move(loss)},
                   {"validation", "points", "--c1", std::move(validation)}};
    return plot;
}

Plot loss_plot(const History& history) {
    const Column& loss = history.column("loss");
    return {.title = "Loss",
            .note = "mean squared error of the predicted velocity",
            .wide = true,
            .series = {{"training", "faint", "--c0", loss},
                       {"training, smoothed", "line", "--c0", smooth(loss)},
                       {"validation", "points", "--c1", history.column("val_loss")}}};
}

Plot timestep_plot(const History& history, const ReportInput& input) {
    Plot plot{.title = "Validation loss by timestep", .note = "t = 1 is pure noise"};
    for (size_t k = 0; k < flow::kValidationTimesteps; ++k) {
        plot.series.push_back({fmt::format("t = {:.4g}", input.validation_timesteps[k]), "points",
                               fmt::format("--t{}", k),
                               history.column(fmt::format("val_loss_t{}", k))});
    }
    return plot;
}

/// Fills in the one curve of a plot that bears the plot's name.
Chart single_chart(Plot plot, const Column& column) {
    plot.series = {{plot.title, "line", "--c0", column}};
    return to_chart(std::move(plot));
}

Chart histogram_chart(const std::vector<int64_t>& counts) {
    const auto total = std::accumulate(counts.begin(), counts.end(), int64_t{0});
    Chart chart{.title = "Training timesteps drawn",
                .unit = "%",
                .note = fmt::format("of samples, {} bins", counts.size())};
    if (total > 0) {
        std::vector<double> shares;
        for (const int64_t count : counts) {
            shares.push_back(100 * static_cast<double>(count) / static_cast<double>(total));
        }
        chart.json = R"({"unit":"%","bars":)";
        append_numbers(chart.json, shares);
        chart.json += "}";
    }
    return chart;
}

}  // namespace

Chart to_chart(Plot plot, size_t buckets) {
    for (Series& series : plot.series) {
        series.points = thin(series.points, buckets);
    }
    std::erase_if(plot.series, [](const Series& series) { return series.points.x.empty(); });
    Chart chart{.title = plot.title, .unit = plot.unit, .note = plot.note, .wide = plot.wide};
    if (plot.series.empty()) {
        return chart;
    }
    const bool log_scale = needs_log_scale(plot);
    if (log_scale) {
        chart.note += chart.note.empty() ? "log scale" : ", log scale";
    }
    chart.json =
        fmt::format(R"({{"unit":"{}","axis":"{}","log":{},"zero":{},"legend":{},"series":[)",
                    plot.unit, plot.axis, log_scale, plot.scale == Scale::kFromZero,
                    plot.legend && plot.series.size() > 1);
    for (const Series& series : plot.series) {
        chart.json += &series == &plot.series.front() ? "" : ",";
        chart.json += fmt::format(R"({{"name":{},"kind":"{}","color":"{}","dash":"{}","x":)",
                                  json_text(series.name), series.kind, series.color, series.dash);
        append_places(chart.json, series.points.x);
        chart.json += R"(,"y":)";
        append_numbers(chart.json, series.points.value);
        chart.json += "}";
    }
    chart.json += "]}";
    return chart;
}

Column scaled(Column column, double factor) {
    for (double& value : column.value) {
        value *= factor;
    }
    return column;
}

TimeUnit time_unit(double seconds) {
    constexpr double kMinute = 60, kHour = 3600;
    if (seconds < 3 * kMinute) {
        return {"seconds", 1};
    }
    return seconds < 3 * kHour ? TimeUnit{"minutes", kMinute} : TimeUnit{"hours", kHour};
}

Column in_unit(Column column, const TimeUnit& unit) {
    for (double& place : column.x) {
        place /= unit.seconds;
    }
    return column;
}

std::string json_text(std::string_view text) {
    std::string json = "\"";
    for (const char c : text) {
        if (static_cast<unsigned char>(c) < 0x20 || c == '"' || c == '\\' || c == '<') {
            json += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
        } else {
            json += c;
        }
    }
    return json + "\"";
}

Column thin(const Column& column, size_t buckets) {
    Column finite;
    for (size_t i = 0; i < column.value.size(); ++i) {
        if (std::isfinite(column.value[i]) && std::isfinite(column.x[i])) {
            finite.x.push_back(column.x[i]);
            finite.value.push_back(column.value[i]);
        }
    }
    const size_t count = finite.value.size();
    if (count <= 2 * buckets) {
        return finite;
    }
    Column result;
    const auto keep = [&](size_t i) {
        result.x.push_back(finite.x[i]);
        result.value.push_back(finite.value[i]);
    };
    for (size_t bucket = 0; bucket < buckets; ++bucket) {
        const auto begin = finite.value.begin() + static_cast<int64_t>(count * bucket / buckets);
        const auto end =
            finite.value.begin() + static_cast<int64_t>(count * (bucket + 1) / buckets);
        const auto [least, greatest] = std::minmax_element(begin, end);
        const auto [first, second] = std::minmax(least, greatest);
        keep(static_cast<size_t>(first - finite.value.begin()));
        if (second != first) {
            keep(static_cast<size_t>(second - finite.value.begin()));
        }
    }
    return result;
}

Column smooth(const Column& column) {
    const double memory = std::max(5.0, static_cast<double>(column.value.size()) / 50);
    const double decay = 1 - 1 / memory;
    Column result;
    double sum = 0;
    double weight = 0;  // of all values so far: without it the first ones would be pulled to zero
    for (size_t i = 0; i < column.value.size(); ++i) {
        if (std::isfinite(column.value[i])) {
            sum = decay * sum + column.value[i];
            weight = decay * weight + 1;
            result.x.push_back(column.x[i]);
            result.value.push_back(sum / weight);
        }
    }
    return result;
}

std::vector<Chart> make_charts(const History& history, const ReportInput& input) {
    std::vector<Chart> charts;
    charts.push_back(to_chart(loss_plot(history)));
    charts.push_back(to_chart(loss_over(history, Axis::kSamples)));
    charts.push_back(to_chart(loss_over(history, Axis::kSeconds)));
    charts.push_back(to_chart(timestep_plot(history, input)));
    charts.push_back(histogram_chart(input.timestep_counts));
    charts.push_back(single_chart({.title = "Gradient norm", .note = "before clipping"},
                                  history.column("grad_norm")));
    charts.push_back(
        single_chart({.title = "Learning rate", .scale = Scale::kFromZero}, history.column("lr")));
    charts.push_back(
        single_chart({.title = "Throughput", .unit = "samples/s", .scale = Scale::kFromZero},
                     history.column("samples_per_s")));
    charts.push_back(single_chart({.title = "Computation",
                                   .unit = "TFLOP/s",
                                   .note = "of one device",
                                   .scale = Scale::kFromZero},
                                  history.column("tflops")));
    charts.push_back(single_chart({.title = "Waiting for data",
                                   .unit = "%",
                                   .note = "of step time",
                                   .scale = Scale::kFromZero},
                                  scaled(history.column("data_wait"), 100)));
    charts.push_back(single_chart({.title = "Memory", .unit = "GiB", .scale = Scale::kFromZero},
                                  history.column("memory_gib")));
    std::erase_if(charts, [](const Chart& chart) { return chart.json.empty(); });
    return charts;
}

}  // namespace flux::metrics
