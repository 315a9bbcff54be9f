#include "flux/base/hub_name.h"

#include <algorithm>

namespace flux {

bool is_hub_name_part(std::string_view text) {
    const bool plain = std::all_of(text.begin(), text.end(), [](char c) {
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
               c == '-' || c == '_' || c == '.';
    });
    return plain && !text.empty() && text.front() != '.' && text.front() != '-' &&
           text.find("..") == text.npos;
}

bool is_hub_name(std::string_view value) {
    const size_t slash = value.find('/');
    return slash != value.npos && is_hub_name_part(value.substr(0, slash)) &&
           is_hub_name_part(value.substr(slash + 1));
}

}  // namespace flux
