#include "flux/data/payload.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/tensor.h>

#include <cstring>

#include "data/planes.h"

namespace flux::data {
namespace {

void store(PictureBatch& batch, int64_t place, Sample& sample) {
    const int64_t height = batch.images.size(2);
    const int64_t width = batch.images.size(3);
    TORCH_CHECK(sample.image.width == width && sample.image.height == height, "sample ", sample.key,
                ": the data set returned a picture of ", sample.image.width, " x ",
                sample.image.height, " pixels, not of ", width, " x ", height);
    to_planes(sample.image.rgb.data(), static_cast<size_t>(height * width),
              batch.images.mutable_data_ptr<uint8_t>() + place * 3 * height * width);
    batch.captions[static_cast<size_t>(place)] = std::move(sample.caption);
}

void store_cell(const at::Tensor& rows, int64_t place, const StoredEncodings::Cell& cell) {
    const size_t row_bytes = rows.nbytes() / static_cast<size_t>(rows.size(0));
    TORCH_CHECK(cell.data.size() == row_bytes, "the data set returned an encoding of ",
                cell.data.size(), " bytes, not of ", row_bytes);
    std::memcpy(static_cast<std::byte*>(rows.mutable_data_ptr()) + size_t(place) * row_bytes,
                cell.data.data(), row_bytes);
}

void store(EncodingBatch& batch, int64_t place, const Sample& sample) {
    store_cell(batch.t5, place, sample.encodings.t5);
    store_cell(batch.clip, place, sample.encodings.clip);
    store_cell(batch.mean, place, sample.encodings.mean);
    store_cell(batch.logvar, place, sample.encodings.logvar);
}

/// Whether the pool alone holds a tensor and its memory.
bool is_free(const at::Tensor& rows) {
    return !rows.defined() || (rows.use_count() == 1 && rows.storage().use_count() == 1);
}

bool is_free(const Payload& payload) {
    const EncodingBatch& stored = payload.encodings;
    return is_free(payload.pictures.images) && is_free(stored.t5) && is_free(stored.clip) &&
           is_free(stored.mean) && is_free(stored.logvar);
}

/// Encodings of one data set differ in their count alone.
bool has_shape(const Payload& payload, const PayloadShape& shape, int64_t count) {
    const at::Tensor& images = payload.pictures.images;
    const auto* pictures = std::get_if<PictureShape>(&shape);
    return pictures != nullptr
               ? images.sizes() == at::IntArrayRef{count, 3, pictures->height, pictures->width}
               : payload.encodings.t5.size(0) == count;
}

}  // namespace

Payload PayloadPool::take(const PayloadShape& shape, int64_t count) {
    if (pinned_) {
        return make_payload(shape, count, pinned_);
    }
    for (const Payload& payload : known_) {
        if (has_shape(payload, shape, count) && is_free(payload)) {
            return payload;
        }
    }
    std::erase_if(known_, [](const Payload& payload) { return is_free(payload); });
    known_.push_back(make_payload(shape, count, pinned_));
    return known_.back();
}

Payload make_payload(const PayloadShape& shape, int64_t count, bool pinned) {
    if (const auto* pictures = std::get_if<PictureShape>(&shape)) {
        const auto bytes = at::TensorOptions().dtype(at::kByte).pinned_memory(pinned);
        return {.pictures = {at::empty({count, 3, pictures->height, pictures->width}, bytes),
                             std::vector<std::string>(static_cast<size_t>(count))},
                .encodings = {}};
    }
    const auto& sizes = std::get<EncodingShape>(shape);
    const auto bf16 = at::TensorOptions().dtype(at::kBFloat16).pinned_memory(pinned);
    const auto latent = [&] {
        return at::empty({count, sizes.channels, sizes.height, sizes.width}, bf16);
    };
    return {.pictures = {},
            .encodings = {at::empty({count, sizes.text_tokens, sizes.text_width}, bf16),
                          at::empty({count, sizes.pooled_width}, bf16), latent(), latent()}};
}

void store_sample(Payload& payload, int64_t place, Sample& sample) {
    if (payload.is_encoded()) {
        store(payload.encodings, place, sample);
    } else {
        store(payload.pictures, place, sample);
    }
}

Payload select_samples(const Payload& payload, const std::vector<int64_t>& places) {
    const at::Tensor index = at::tensor(places, at::kLong);
    const auto select = [&](const at::Tensor& rows) { return at::index_select(rows, 0, index); };
    Payload kept;
    if (payload.is_encoded()) {
        const EncodingBatch& from = payload.encodings;
        kept.encodings = {select(from.t5), select(from.clip), select(from.mean),
                          select(from.logvar)};
        return kept;
    }
    kept.pictures.images = select(payload.pictures.images);
    for (const int64_t place : places) {
        kept.pictures.captions.push_back(payload.pictures.captions[static_cast<size_t>(place)]);
    }
    return kept;
}

}  // namespace flux::data
