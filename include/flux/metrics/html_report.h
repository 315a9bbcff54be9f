// report.html: the state of a run on one self-contained page (curves, sample pictures,
// configuration) that opens without a network. Made from the run's folder: metrics.jsonl,
// config.toml and the pictures img/step-000400/00.png, 01.png, ... (the folder img may have another
// name), whose prompt stands in the PNG text "prompt".
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "flux/metrics/reporter.h"

namespace flux::metrics {

struct ReportFact {
    std::string name;   // "Parameters"
    std::string value;  // "2,345,678"
};

/// What the folder does not tell.
struct ReportInput {
    std::string title;                   // "flux_train: debug"
    std::string description;             // one line below the title
    std::string status;                  // "running", "finished"; may be empty
    std::string picture_folder = "img";  // below the run's folder; empty: no pictures
    int64_t total_steps = 0;             // 0: not known
    std::array<double, flow::kValidationTimesteps> validation_timesteps{};  // of val_loss_t0 .. t7
    std::vector<int64_t> timestep_counts;  // drawn training timesteps in equal bins over [0, 1]
    std::vector<ReportFact> facts;
};

/// How far a run has come.
struct RunProgress {
    int64_t step = 0;
    int64_t samples = 0;
};

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

    /// What the last lines of metrics.jsonl say.
    RunProgress progress();

private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace flux::metrics
