// report.html: the state of a run on one self-contained page (curves, sample pictures,
// configuration) that opens without a network. Made from the run's folder: metrics.jsonl, the
// pictures img/step-000400/00.png, 01.png, ... (the folder img may have another name), whose prompt
// stands in the PNG text "prompt", and report.json, in which a run keeps what these do not tell.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "flux/metrics/reporter.h"

namespace flux::metrics {

struct ReportFact {
    std::string name;   // "Parameters"
    std::string value;  // "2,345,678"
};

/// What figures and pictures do not tell.
struct ReportInput {
    std::string title;                   // "flux_train: debug"
    std::string description;             // one line below the title
    std::string status;                  // "running", "finished"; may be empty
    std::string picture_folder = "img";  // below the run's folder; empty: no pictures
    int64_t total_steps = 0;             // 0: not known
    std::array<double, flow::kValidationTimesteps> validation_timesteps{};  // of val_loss_t0 .. t7
    std::vector<int64_t> timestep_counts;  // drawn training timesteps in equal bins over [0, 1]
    std::vector<ReportFact> facts;
    std::string config_toml;  // the effective configuration, without secrets
};

/// Keeps it in `folder`/report.json, replaced in one step.
void save_report_input(const std::filesystem::path& folder, const ReportInput& input);

/// What save_report_input() has kept; nothing without the file. Throws Error naming a file that
/// holds something else.
std::optional<ReportInput> load_report_input(const std::filesystem::path& folder);

/// Throws Error if `folder`/metrics.jsonl holds something, but no figures; warns of lines that
/// cannot be read. An empty one is that of a run that has just begun.
void check_metrics(const std::filesystem::path& folder);

/// Writes the page again and again while a run goes on: keeps the numbers it has read and the
/// pictures it has encoded, so that a rewrite costs milliseconds.
class HtmlReport {
public:
    explicit HtmlReport(std::filesystem::path folder);
    ~HtmlReport();
    HtmlReport(const HtmlReport&) = delete;
    HtmlReport& operator=(const HtmlReport&) = delete;

    /// Replaces report.html in one step. Missing parts of the folder leave out their section; a
    /// picture that cannot be read is named on the page.
    void write(const ReportInput& input);

private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace flux::metrics
