// The curves of the report: what each chart shows, thinned so that the page stays small however
// long the run is, as the JSON that the page's script draws from.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "flux/metrics/html_report.h"
#include "history.h"

namespace flux::metrics {

struct Series {
    std::string name;
    std::string kind;   // line | faint | points
    std::string color;  // CSS variable of the page
    Column points;
    std::string dash = {};  // of the line, as in SVG; "": drawn through
};

enum class Scale { kFromZero, kFitOrLog };

struct Plot {
    std::string title = {};
    std::string unit = {};
    std::string note = {};
    std::string axis = "step";  // what is to the right: plots with the same word share its range
    Scale scale = Scale::kFitOrLog;
    bool wide = false;
    bool legend = true;
    std::vector<Series> series = {};
};

/// At most 2 * buckets finite points of the column: the least and the greatest value of each run of
/// neighbours, in their order. Short columns come back whole.
Column thin(const Column& column, size_t buckets);

/// Exponential mean whose memory is a fixed share of the run, so that it looks alike at any length.
Column smooth(const Column& column);

struct Chart {
    std::string title = {};
    std::string unit = {};
    std::string note = {};  // small print in the heading
    std::string json = {};  // "" if there is nothing to show
    bool wide = false;      // takes the full width of the page
};

/// Thins the series to 2 * buckets points; series and charts without a finite point are left out.
Chart to_chart(Plot plot, size_t buckets = 300);

Column scaled(Column column, double factor);

/// A unit of time in which so many seconds read well.
struct TimeUnit {
    std::string name;  // "hours"
    double seconds = 1;
};
TimeUnit time_unit(double seconds);

/// The column with its place in seconds in that unit instead.
Column in_unit(Column column, const TimeUnit& unit);

/// The text in quotes, for JSON inside of a page.
std::string json_text(std::string_view text);

/// All charts of a run, in the order of the page.
std::vector<Chart> make_charts(const History& history, const ReportInput& input);

}  // namespace flux::metrics
