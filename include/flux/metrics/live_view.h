// A run as others can look at it while it goes on: its report at `/`, its figures for Prometheus at
// `/metrics`. Read-only.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "flux/metrics/reporter.h"

namespace flux::metrics {

class LiveView {
public:
    /// Listens from now on (`port` 0: at any that is free). Throws ConfigError naming
    /// metrics.http_port or metrics.http_host where it cannot.
    LiveView(const std::string& host, int port);
    ~LiveView();
    LiveView(const LiveView&) = delete;
    LiveView& operator=(const LiveView&) = delete;

    int port() const;
    /// Of the page, for people: "http://127.0.0.1:8080/".
    std::string address() const;

    /// The page to serve from now on; it may not be there yet.
    void show(const std::filesystem::path& page);
    void train(const TrainLine& line);
    void validation(const ValidationLine& line);

private:
    struct State;
    std::unique_ptr<State> state_;
};

/// The figures in Prometheus's text format.
std::string prometheus_text(const std::optional<TrainLine>& train,
                            const std::optional<ValidationLine>& validation);

}  // namespace flux::metrics
