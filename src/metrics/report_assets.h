// Style sheet and script of the report page. The script draws every element with a `data-chart`
// from the JSON of that number; without it the page still shows figures, pictures and
// configuration.
#pragma once

#include <string_view>

namespace flux::metrics {

extern const std::string_view kReportStyle;
extern const std::string_view kReportScript;

}  // namespace flux::metrics
