#include "flux/data/tar_index.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <unordered_map>

#include "flux/base/error.h"
#include "flux/base/storage_error.h"
#include "flux/data/tar_reader.h"

namespace flux::data {
namespace {

constexpr std::array<std::string_view, 6> kPictureExtensions = {"png",  "jpg", "jpeg",
                                                                "webp", "gif", "bmp"};

class Indexer {
public:
    explicit Indexer(const ShardReader& reader) : reader_(reader), tar_(reader) {}

    TarIndex run() {
        bool any_member = false;
        try {
            while (const auto member = tar_.next()) {
                any_member = true;
                if (tar_.is_cut(*member)) {
                    add_cut(*member);
                    break;
                }
                if (member->regular) {
                    add(*member);
                }
            }
        } catch (const StorageError&) {  // what could not be read now may be whole
            throw;
        } catch (const Error& error) {
            if (!any_member) {
                throw;
            }
            index_.damage = error.what();
            index_.samples.push_back({"(damaged part)", {}, std::nullopt, error.what()});
        }
        index_.has_end_mark = tar_.saw_end_mark();
        for (IndexedSample& sample : index_.samples) {
            find_picture(sample);
        }
        return std::move(index_);
    }

private:
    /// Members of one sample usually stand together, but need not.
    IndexedSample& sample(const std::string& key) {
        const auto [entry, added] = by_key_.try_emplace(key, index_.samples.size());
        if (added) {
            index_.samples.push_back({key, {}, std::nullopt, {}});
        }
        return index_.samples[entry->second];
    }

    void add(const TarMember& member) {
        const auto name = split_member_name(member.name);
        if (!name) {
            return;
        }
        IndexedSample& owner = sample(name->key);
        if (owner.member(name->extension) != nullptr) {
            owner.problem = fmt::format("has two members .{}", name->extension);
            return;
        }
        owner.members.push_back({name->extension, member.offset, member.size});
    }

    void add_cut(const TarMember& member) {
        const uint64_t size = reader_.shard().size();
        index_.damage = fmt::format("the archive is truncated: it ends at byte {} inside {}", size,
                                    member.name);
        const auto name = split_member_name(member.name);
        sample(name ? name->key : member.name).problem = index_.damage;
    }

    void find_picture(IndexedSample& owner) const {
        const IndexedMember* picture = owner.picture_member();
        if (picture == nullptr || !owner.problem.empty()) {
            return;
        }
        owner.picture = probe_picture_size([&](uint64_t offset, std::span<uint8_t> out) -> size_t {
            if (offset >= picture->size) {
                return 0;
            }
            const size_t wanted = std::min<uint64_t>(out.size(), picture->size - offset);
            return reader_.read_at(picture->offset + offset, out.first(wanted));
        });
    }

    const ShardReader& reader_;
    TarReader tar_;
    TarIndex index_;
    std::unordered_map<std::string, size_t> by_key_;
};

}  // namespace

const IndexedMember* IndexedSample::member(std::string_view extension) const {
    const auto found = std::find_if(members.begin(), members.end(), [&](const auto& candidate) {
        return candidate.extension == extension;
    });
    return found != members.end() ? &*found : nullptr;
}

const IndexedMember* IndexedSample::picture_member() const {
    for (const std::string_view extension : kPictureExtensions) {
        if (const IndexedMember* found = member(extension)) {
            return found;
        }
    }
    return nullptr;
}

std::optional<KeyAndExtension> split_member_name(std::string_view name) {
    const size_t slash = name.rfind('/');
    const size_t base = slash == std::string_view::npos ? 0 : slash + 1;
    const std::string_view base_name = name.substr(base);
    const size_t dot = base_name.find('.');
    if (dot == std::string_view::npos || dot == 0 || base_name.starts_with("__")) {
        return std::nullopt;
    }
    std::string extension(base_name.substr(dot + 1));
    std::transform(extension.begin(), extension.end(), extension.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return KeyAndExtension{std::string(name.substr(0, base + dot)), std::move(extension)};
}

TarIndex index_tar(const ShardReader& reader) { return Indexer(reader).run(); }

}  // namespace flux::data
