// report.json: what a run's page says besides its figures and pictures, so that it can be written
// anew when the run is over.
#include <nlohmann/json.hpp>
#include <string>

#include "flux/base/error.h"
#include "flux/base/file.h"
#include "flux/metrics/html_report.h"

namespace flux::metrics {
namespace {

using nlohmann::ordered_json;

std::filesystem::path path_in(const std::filesystem::path& folder) {
    return folder / "report.json";
}

}  // namespace

void save_report_input(const std::filesystem::path& folder, const ReportInput& input) {
    ordered_json facts = ordered_json::array();
    for (const ReportFact& fact : input.facts) {
        facts.push_back({{"name", fact.name}, {"value", fact.value}});
    }
    const ordered_json kept{{"title", input.title},
                            {"description", input.description},
                            {"status", input.status},
                            {"picture_folder", input.picture_folder},
                            {"total_steps", input.total_steps},
                            {"validation_timesteps", input.validation_timesteps},
                            {"timestep_counts", input.timestep_counts},
                            {"facts", facts},
                            {"config_toml", input.config_toml}};
    constexpr int kIndent = 1;
    write_text(path_in(folder),
               kept.dump(kIndent, ' ', false, ordered_json::error_handler_t::replace) + "\n");
}

std::optional<ReportInput> load_report_input(const std::filesystem::path& folder) {
    const std::filesystem::path path = path_in(folder);
    if (!std::filesystem::exists(path)) {
        return std::nullopt;
    }
    try {
        const auto kept = ordered_json::parse(read_text(path));
        ReportInput input;
        kept.at("title").get_to(input.title);
        kept.at("description").get_to(input.description);
        kept.at("status").get_to(input.status);
        kept.at("picture_folder").get_to(input.picture_folder);
        kept.at("total_steps").get_to(input.total_steps);
        kept.at("validation_timesteps").get_to(input.validation_timesteps);
        kept.at("timestep_counts").get_to(input.timestep_counts);
        kept.at("config_toml").get_to(input.config_toml);
        for (const auto& fact : kept.at("facts")) {
            input.facts.push_back(
                {fact.at("name").get<std::string>(), fact.at("value").get<std::string>()});
        }
        return input;
    } catch (const ordered_json::exception& problem) {
        fail("{}: is not what a run keeps for its report ({}): remove it for the curves alone",
             path.string(), problem.what());
    }
}

}  // namespace flux::metrics
