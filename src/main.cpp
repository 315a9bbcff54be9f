// flux_train: the command line goes to one subcommand; every failure ends here with one message and
// an exit code.
#include <exception>
#include <new>
#include <string>
#include <system_error>
#include <vector>

#include "flux/base/error.h"
#include "flux/base/log.h"
#include "flux/commands/commands.h"
#include "flux/data/object_store.h"
#include "flux/dist/world.h"

namespace {

constexpr int kExitFailure = 1;
constexpr int kExitConfiguration = 2;

struct EndOfProgram {
    ~EndOfProgram() {
        try {
            flux::data::close_object_stores();
        } catch (const flux::Error& error) {
            flux::log::warning("{}", error.what());
        }
    }
};

}  // namespace

int main(int argc, char** argv) {
    const EndOfProgram end;
    try {
        return flux::commands::run(std::vector<std::string>(argv + 1, argv + argc));
    } catch (const flux::ConfigError& error) {
        flux::log::error("{}", error.what());
        return kExitConfiguration;
    } catch (const flux::dist::EndedByPeer&) {
        // Said by the process that failed.
    } catch (const flux::Error& error) {
        flux::log::error("{}", error.what());
    } catch (const std::bad_alloc&) {
        flux::log::error(
            "out of memory: lower training.batch_size or set activation_checkpoint.mode = "
            "\"full\"");
    } catch (const std::system_error&
                 error) {  // file system, threads: the message names place and reason
        flux::log::error("{}", error.what());
    } catch (const std::exception& error) {
        flux::log::error("internal error: {}", error.what());
    }
    return kExitFailure;
}
