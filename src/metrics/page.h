// The parts of the HTML pages: head, charts, end, and how text and figures are written there.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "curves.h"
#include "history.h"

namespace flux::metrics {

/// The text as it can stand between tags and in attributes.
std::string escape(std::string_view text);

template <class... Args>
void append(std::string& out, fmt::format_string<Args...> format, Args&&... args) {
    fmt::format_to(std::back_inserter(out), format, std::forward<Args>(args)...);
}

/// 1234567 -> "1,234,567".
std::string grouped(int64_t number);

std::optional<double> last(const Column& column);

/// "n/a" for what is not there or not finite.
std::string figure_text(std::optional<double> value, int digits);

/// A page up to and with its heading; `status` may be empty.
std::string page_head(std::string_view title, std::string_view status,
                      std::string_view description);

/// Returns the JSON that the charts are drawn from, for end_page().
std::string add_charts(std::string& out, const std::vector<Chart>& charts);

void end_page(std::string& page, std::string_view charts_json);

}  // namespace flux::metrics
