// The address by which the processes of other machines reach this one.
#pragma once

#include <optional>
#include <string>

#include "flux/dist/store.h"

namespace flux::dist {

/// The numeric address from which this machine speaks to `host`: that of the right network card
/// where there are several, loopback if `host` is this machine under a loopback name. Nothing if
/// `host` is not known or no way leads there. Sends nothing.
std::optional<std::string> address_towards(const std::string& host);

bool is_loopback(const std::string& address);

/// Tells the others this process's address towards the machine of rank 0.
void publish_address(Store& store, const std::string& master_address);

/// The address to listen on for the other processes of the job, after all have published; nothing
/// if it cannot be known.
std::optional<std::string> listening_address(Store& store, std::chrono::milliseconds timeout);

}  // namespace flux::dist
