// The curves of the report: what each chart shows, thinned so that the page stays small however
// long the run is, as the JSON that the page's script draws from.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "flux/metrics/html_report.h"
#include "history.h"

namespace flux::metrics {

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

/// All charts of a run, in the order of the page.
std::vector<Chart> make_charts(const History& history, const ReportInput& input);

}  // namespace flux::metrics
