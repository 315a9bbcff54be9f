// TensorBoard event files: Event messages of TensorFlow's event.proto, of which a handful of fields
// is needed, one a TFRecord. W&B reads them too (`wandb sync`), hence the older form of scalars and
// pictures, which every reader knows.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "flux/base/file.h"

namespace flux::metrics {

/// A record of a TFRecord file: length, its checksum, the data, their checksum; checksums are
/// masked CRC-32C.
std::string tf_record(std::string_view data);

struct Scalar {
    std::string tag;  // "train/loss"; the part before the slash groups charts
    double value = 0;
};

/// One event file, written from beginning to end. All failures throw Error naming path and reason.
class EventFile {
public:
    /// Begins a new file in `folder` (made if missing) that readers take after those already there.
    /// Of those, readers leave out what comes after `resume_step`.
    EventFile(const std::filesystem::path& folder, std::optional<int64_t> resume_step);

    void scalars(int64_t step, const std::vector<Scalar>& values);
    /// `text` is shown as Markdown.
    void text(int64_t step, std::string_view tag, std::string_view text);
    /// The PNG files in `folder` (a missing one holds none) as pictures/NAME, with their prompts.
    /// One that cannot be read is a warning.
    void pictures(int64_t step, const std::filesystem::path& folder);

private:
    void write(int64_t step, int field, std::string_view message);

    AppendFile file_;
};

}  // namespace flux::metrics
