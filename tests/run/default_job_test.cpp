// The default job, whole: it learns, and its pictures show what the prompts ask for.
#include <gtest/gtest.h>

#include <array>
#include <fstream>
#include <sstream>

#include "flux/base/file.h"
#include "flux/base/png.h"
#include "flux/data/image_decode.h"
#include "flux/data/image_transform.h"
#include "flux/data/shapes.h"
#include "support/process.h"
#include "support/reference.h"

namespace flux::test {
namespace {

data::Image read_picture(const std::filesystem::path& path) {
    const MappedFile file(path);
    const auto bytes = file.bytes();
    return data::to_rgb(data::decode_image(
        {reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()}, 1 << 24));
}

/// Name of the palette colour nearest to the mean of a square around (x, y).
std::string_view color_at(const data::Image& image, int x, int y, int radius) {
    std::array<double, 3> sum{};
    int count = 0;
    for (int row = y - radius; row <= y + radius; ++row) {
        for (int column = x - radius; column <= x + radius; ++column, ++count) {
            for (size_t c = 0; c < 3; ++c) {
                sum[c] += image.rgb[static_cast<size_t>(row * image.width + column) * 3 + c];
            }
        }
    }
    double best = 1e18;
    std::string_view name;
    for (const data::NamedColor& color : data::kShapeColors) {
        double distance = 0;
        for (size_t c = 0; c < 3; ++c) {
            const double difference = sum[c] / count - color.rgb[c];
            distance += difference * difference;
        }
        if (distance < best) {
            best = distance;
            name = color.name;
        }
    }
    return name;
}

/// The colour that most of the four corners have.
std::string_view background_of(const data::Image& image) {
    const int near = 3, far = image.width - 4;
    std::array<std::string_view, 4> corners{
        color_at(image, near, near, 2), color_at(image, far, near, 2),
        color_at(image, near, far, 2), color_at(image, far, far, 2)};
    return *std::max_element(corners.begin(), corners.end(), [&](auto a, auto b) {
        return std::count(corners.begin(), corners.end(), a) <
               std::count(corners.begin(), corners.end(), b);
    });
}

struct Asked {
    std::string color, background;
};

/// "a large red circle on a white background"
Asked parse_prompt(const std::string& prompt) {
    std::istringstream words(prompt);
    std::string a, size, color, shape, on, article, background;
    words >> a >> size >> color >> shape >> on >> article >> background;
    return {color, background};
}

std::vector<std::string> prompts(int count) {
    std::vector<std::string> result;
    for (int64_t i = 0; i < count; ++i) {
        result.push_back(data::shape_caption(data::shape_scene(/*seed=*/99, i)));
    }
    return result;
}

TEST(RunDefaultJob, LearnsAndDrawsWhatIsAskedFor) {
    const TemporaryFolder folder;
    const char* ready_made = std::getenv("FLUX_DEFAULT_RUN");
    const std::filesystem::path run = ready_made != nullptr ? ready_made : folder.path() / "run";
    const std::string config = std::string(FLUX_SOURCE_DIR) + "/configs/debug.toml";
    if (ready_made == nullptr) {
        const ProcessResult trained =
            run_flux_train({"--job.config_file", config, "--job.dump_folder=" + run.string()});
        ASSERT_EQ(trained.exit_code, 0) << trained.err;
    }
    const auto validation = metric(run, "val_loss");
    ASSERT_GE(validation.size(), 2u);
    EXPECT_EQ(validation.front().first, 0);
    EXPECT_LE(std::stod(validation.back().second), 0.38 * std::stod(validation.front().second));

    std::ofstream(folder.path() / "prompts.txt") << [] {
        std::string text;
        for (const std::string& prompt : prompts(64)) {
            text += prompt + "\n";
        }
        return text;
    }();
    const ProcessResult sampled =
        run_flux_train({"sample", "--checkpoint", run.string(), "--prompts",
                        (folder.path() / "prompts.txt").string(), "--pictures", "2", "--out",
                        (folder.path() / "pictures").string(), "--inference.batch_size=64"});
    ASSERT_EQ(sampled.exit_code, 0) << sampled.err;
    int pictures = 0, background_right = 0, color_right = 0;
    for (const auto& entry : std::filesystem::directory_iterator(folder.path() / "pictures")) {
        const Asked asked = parse_prompt(read_png_text(entry.path()).at("prompt"));
        const data::Image image = read_picture(entry.path());
        ++pictures;
        background_right += background_of(image) == asked.background ? 1 : 0;
        color_right += color_at(image, 32, 32, 3) == asked.color ? 1 : 0;
    }
    ASSERT_EQ(pictures, 128);
    std::printf("background right: %d of 128, object colour right: %d of 128\n", background_right,
                color_right);
    EXPECT_GE(background_right, 0.85 * pictures);
    EXPECT_GE(color_right, 0.75 * pictures);
}

}  // namespace
}  // namespace flux::test
