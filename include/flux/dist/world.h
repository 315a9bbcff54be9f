// The processes of a job, from one on: how they meet, agree, and end together.
#pragma once

#include <chrono>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "flux/config/job_config.h"
#include "flux/dist/fault_watch.h"
#include "flux/dist/mesh.h"
#include "flux/dist/process_place.h"
#include "flux/dist/store.h"

namespace flux::dist {

/// This process ends because another one failed and has said so.
class EndedByPeer : public std::exception {
public:
    explicit EndedByPeer(int exit_code) : exit_code_(exit_code) {}
    const char* what() const noexcept override { return "another process of the job failed"; }
    /// That of the process that failed.
    int exit_code() const { return exit_code_; }

private:
    int exit_code_;
};

class World {
public:
    /// Meets the other processes. Throws what Store throws.
    World(const ProcessPlace& place, const config::Comm& settings);
    /// Waits until all processes have come to their end, unless one has failed.
    ~World();

    /// With what the processes told each other of their machines.
    const ProcessPlace& place() const { return place_; }
    int rank() const { return place_.rank; }
    int size() const { return place_.world_size; }
    bool is_first() const { return place_.is_first(); }

    /// Every rank's value, in rank order. All must call with the same topic; each call of a topic
    /// is a new round.
    std::vector<std::string> exchange(const std::string& topic, std::string_view value);
    /// The value of rank 0 on all ranks.
    std::string from_first(const std::string& topic, std::string_view value);

    Mesh make_mesh(const MeshShape& shape, c10::Device device);

    /// From the first step on comm.train_timeout_seconds count.
    void training_begins(Mesh& mesh);
    /// Where this process is, for messages of others: "step 12". On a GPU it must come to another
    /// place within the time-out of exchanges, or the job ends; on a CPU each exchange has it.
    void at(const std::string& place);
    /// The same for work that takes as long as it takes, such as writing files.
    void at_leisure(const std::string& place);

    /// Waits until all processes have come here, at the end of all work: a launcher that sees a
    /// process leave with an exit code other than 0 gives the rest a second or two, and a GPU's
    /// last exchanges are over only then.
    void finish();

    /// Runs `body`; a failure in it, whatever it is, ends all processes with one message and one
    /// exit code. Throws EndedByPeer where this process is not the one to speak, else Error
    /// (ConfigError); the log names rank and host.
    void run(const std::function<void()>& body);

    /// exchange() for another thread, over a connection of its own; it waits as long as no
    /// process is lost. Empty for one process.
    using Exchange =
        std::function<std::vector<std::string>(const std::string& topic, const std::string&)>;
    Exchange make_exchange(const std::string& name);

    /// Runs this process's part of what all do. Where bad data or a file ends it on some, all throw
    /// Error naming the first of them, and can still do something together. A part that exchanges
    /// with the others must have kept up with them when it throws.
    void together(const std::string& topic, const std::function<void()>& part);

private:
    [[noreturn]] void end_job(const std::string& reason, int code);

    ProcessPlace place_;
    std::chrono::milliseconds timeout_;
    std::chrono::milliseconds train_timeout_;
    std::unique_ptr<Store> store_;  // null for one process, like the watch
    std::unique_ptr<FaultWatch> watch_;
    std::map<std::string, int64_t> rounds_;
    bool limits_waits_ = false;
    bool finished_ = false;
    bool failed_ = false;
};

/// Throws Error naming the first process that has failed, unless it is the only one. `problems`: in
/// rank order, empty: none.
void fail_if_any(const std::vector<std::string>& problems);

}  // namespace flux::dist
