// Whether a data set and the encoders fit together and fit the model: asked before a run begins.
#pragma once

#include <string>

#include "flux/data/sample.h"
#include "flux/encoders/conditioning.h"

namespace flux::encoders {

struct PayloadExpectation {
    std::string dataset;  // "training.dataset = \"cc12m_preprocessed\"", for messages
    TextWidths widths;
    int64_t img_size = 0;
    bool drops_captions = false;
};

/// Throws ConfigError naming the option that does not fit: pictures without the encoders for them,
/// or stored encodings of other widths, channels or picture size than the model takes.
void check_payload(const data::PayloadShape& payload, const Conditioning& conditioning,
                   const PayloadExpectation& expected);

}  // namespace flux::encoders
