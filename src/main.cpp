// flux_train: the command line goes to one subcommand; every failure ends here with one message and
// an exit code.
#include <cstdlib>
#include <exception>
#include <string>
#include <vector>

#include "flux/base/error.h"
#include "flux/base/libtorch_messages.h"
#include "flux/base/log.h"
#include "flux/commands/commands.h"
#include "flux/data/object_store.h"
#include "flux/dist/world.h"

namespace {

struct EndOfProgram {
    ~EndOfProgram() {
        try {
            flux::data::close_object_stores();
        } catch (const flux::Error& error) {
            flux::log::warning("{}", error.what());
        }
    }
};

/// For what is thrown on a thread that nobody can catch it on: LibTorch's own.
[[noreturn]] void say_why_and_abort() {
    try {
        if (std::current_exception()) {
            throw;
        }
    } catch (const std::exception& error) {
        flux::log::error("{}", flux::failure_text(error));
    }
    std::abort();
}

}  // namespace

int main(int argc, char** argv) {
    std::set_terminate(say_why_and_abort);
    flux::route_libtorch_messages();
    const EndOfProgram end;
    try {
        return flux::commands::run(std::vector<std::string>(argv + 1, argv + argc));
    } catch (const flux::dist::EndedByPeer& end_of_job) {
        return end_of_job.exit_code();  // said by the process that failed
    } catch (const std::exception& error) {
        flux::log::error("{}", flux::failure_text(error));
        return flux::exit_code(error);
    }
}
