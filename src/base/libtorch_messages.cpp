#include "flux/base/libtorch_messages.h"

#include <c10/util/Exception.h>
#include <c10/util/Logging.h>

#include <cstdlib>

#include "flux/base/log.h"

namespace flux {
namespace {

class WarningLines final : public c10::WarningHandler {
    void process(const c10::Warning& warning) override {
        log::warning("LibTorch: {}", warning.msg());
    }
};

}  // namespace

void route_libtorch_messages() {
    static WarningLines lines;
    c10::WarningUtils::set_warning_handler(&lines);
    if (std::getenv("TORCH_CPP_LOG_LEVEL") != nullptr) {
        c10::initLogging();  // reads it
    } else {
        FLAGS_caffe2_log_level = c10::GLOG_FATAL;
    }
}

}  // namespace flux
