#include "page.h"

#include <cmath>

#include "report_assets.h"

namespace flux::metrics {

std::string escape(std::string_view text) {
    std::string result;
    result.reserve(text.size());
    for (const char c : text) {
        switch (c) {
            case '&':
                result += "&amp;";
                break;
            case '<':
                result += "&lt;";
                break;
            case '>':
                result += "&gt;";
                break;
            case '"':
                result += "&quot;";
                break;
            case '\'':
                result += "&#39;";
                break;
            case '\0':
                break;
            default:
                result += c;
        }
    }
    return result;
}

std::string grouped(int64_t number) {
    const std::string digits = fmt::format("{}", number);
    std::string text;
    for (size_t i = 0; i < digits.size(); ++i) {
        const bool after_digit = i > 0 && digits[i - 1] != '-';
        text += after_digit && (digits.size() - i) % 3 == 0 ? "," : "";
        text += digits[i];
    }
    return text;
}

std::optional<double> last(const Column& column) {
    return column.value.empty() ? std::nullopt : std::optional(column.value.back());
}

std::string figure_text(std::optional<double> value, int digits) {
    return value && std::isfinite(*value) ? fmt::format("{:.{}f}", *value, digits) : "n/a";
}

std::string add_charts(std::string& out, const std::vector<Chart>& charts) {
    std::string json = "[";
    out += "<section class=\"charts\">\n";
    for (size_t i = 0; i < charts.size(); ++i) {
        const Chart& chart = charts[i];
        append(out,
               R"(<figure class="chart{}"><figcaption>{}<span>{}</span><span>{}</span>)"
               R"(</figcaption><div class="plot" data-chart="{}"></div></figure>)"
               "\n",
               chart.wide ? " wide" : "", chart.title, chart.unit, chart.note, i);
        json += i == 0 ? "" : ",\n";
        json += chart.json;
    }
    out += "</section>\n";
    return json + "]";
}

std::string page_head(std::string_view title, std::string_view status,
                      std::string_view description) {
    const std::string heading = escape(title);
    std::string page;
    append(page,
           "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
           "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
           "<title>{}</title>\n<style>{}</style>\n</head>\n<body>\n<header><h1>{}",
           heading, kReportStyle, heading);
    if (!status.empty()) {
        append(page, "<span class=\"status\">{}</span>", escape(status));
    }
    append(page, "</h1><p class=\"quiet\">{}</p></header>\n<main>\n", escape(description));
    return page;
}

void end_page(std::string& page, std::string_view charts_json) {
    append(page,
           "</main>\n<noscript><p class=\"quiet\">The curves need JavaScript.</p></noscript>\n"
           "<script type=\"application/json\" id=\"charts\">{}</script>\n<script>{}</script>\n"
           "</body>\n</html>\n",
           charts_json, kReportScript);
}

}  // namespace flux::metrics
