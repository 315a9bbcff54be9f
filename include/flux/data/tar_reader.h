// Walks through a tar archive: POSIX ustar, GNU long names, PAX headers. Every header is checked;
// whatever does not fit is an Error with file and offset.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "flux/data/shard.h"

namespace flux::data {

struct TarMember {
    std::string name;
    bool regular = false;  // a plain file; others (folders, links, devices) carry nothing to read
    uint64_t offset = 0;   // of its bytes in the archive
    uint64_t size = 0;     // may reach beyond the archive's end: see TarReader::is_cut
};

class TarReader {
public:
    explicit TarReader(const ShardReader& reader);

    /// The next member; nothing at the end. Throws Error if the archive is damaged here.
    std::optional<TarMember> next();

    /// The archive ends inside this member's bytes.
    bool is_cut(const TarMember& member) const;

    /// After the end: whether the end mark was there. Without it the archive may have lost its
    /// tail.
    bool saw_end_mark() const { return saw_end_mark_; }

private:
    struct Header;
    struct Overrides;
    std::optional<Header> read_header();
    std::string read_extension(const Header& header) const;
    void apply_pax(const std::string& records, Overrides& overrides) const;
    [[noreturn]] void fail_here(const std::string& reason) const;

    const ShardReader& reader_;
    uint64_t position_ = 0;         // where the next header begins
    uint64_t header_position_ = 0;  // where the last one began, for messages
    bool saw_end_mark_ = false;
};

}  // namespace flux::data
