// Event files to the byte, and as TensorBoard's own reader understands them.
#include "metrics/tensorboard.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <nlohmann/json.hpp>

#include "flux/base/file.h"
#include "flux/base/png.h"
#include "flux/metrics/reporter.h"
#include "support/problem.h"
#include "support/python.h"
#include "support/reference.h"

namespace flux::metrics {
namespace {

using nlohmann::json;
using test::TemporaryFolder;
using testing::HasSubstr;

std::string hex(std::string_view bytes) {
    std::string text;
    for (const char c : bytes) {
        text += fmt::format("{:02x}", static_cast<unsigned char>(c));
    }
    return text;
}

/// The data of each record; fails the test where a frame does not fit.
std::vector<std::string> records_of(const std::filesystem::path& file) {
    const std::string text = read_text(file);
    std::vector<std::string> records;
    constexpr size_t kHead = 12, kTail = 4;
    for (size_t at = 0; at < text.size();) {
        uint64_t length = 0;
        std::memcpy(&length, text.data() + at, sizeof length);
        if (at + kHead + length + kTail > text.size()) {
            ADD_FAILURE() << "a record that is cut off at byte " << at;
            break;
        }
        records.push_back(text.substr(at + kHead, length));
        EXPECT_EQ(hex(tf_record(records.back())), hex(text.substr(at, kHead + length + kTail)));
        at += kHead + length + kTail;
    }
    return records;
}

std::vector<std::filesystem::path> files_in(const std::filesystem::path& folder) {
    return list_folder(folder);
}

TrainLine train_line(int64_t step, double loss) {
    TrainLine line;
    line.step = step;
    line.samples = step * 16;
    line.loss = loss;
    line.data_wait = 0.25;
    return line;
}

// "\x18...\xa3\x7f\x4b\x22" is how the files of every program begin that writes a version first.
TEST(TfRecord, FramesDataWithMaskedChecksums) {
    EXPECT_EQ(hex(tf_record(std::string(24, 'x')).substr(0, 12)), "1800000000000000a37f4b22");
    // RFC 3720 gives 8a9136aa for 32 zeros; rotated right by 15 bits, plus a282ead8: 0fd7fffa.
    EXPECT_EQ(hex(tf_record(std::string(32, '\0')).substr(12 + 32)), "faffd70f");
}

TEST(EventFile, BeginsWithItsVersionAndAStart) {
    const TemporaryFolder folder;
    { const EventFile file(folder.path() / "tb", 41); }
    const auto files = files_in(folder.path() / "tb");
    ASSERT_EQ(files.size(), 1U);
    const auto records = records_of(files[0]);
    ASSERT_EQ(records.size(), 2U);
    EXPECT_EQ(hex(records[0].substr(0, 1)), "09");  // wall time, 8 bytes
    EXPECT_EQ(records[0].substr(9),
              "\x1a\x0d"
              "brain.Event:2");
    EXPECT_EQ(hex(records[1].substr(9)),
              "102a"
              "3a02"
              "0801");  // step 42, session log, START
}

TEST(EventFile, WritesAScalarInSixFields) {
    const TemporaryFolder folder;
    EventFile file(folder.path(), std::nullopt);
    file.scalars(300, {{"train/loss", 0.5}});
    const auto records = records_of(files_in(folder.path())[0]);
    ASSERT_EQ(records.size(), 3U);
    // Step 300; a summary of 19 bytes; a value of 17; its tag; the float.
    EXPECT_EQ(hex(records[2].substr(9)),
              "10ac02"
              "2a13"
              "0a11"
              "0a0a" +
                  hex("train/loss") +
                  "15"
                  "0000003f");
}

TEST(EventFile, OfAResumedRunComesAfterAllOthers) {
    const TemporaryFolder folder;
    write_text(folder.path() / "events.out.tfevents.9999999990.other", "");
    write_text(folder.path() / "notes.txt", "");
    { const EventFile first(folder.path(), std::nullopt); }
    { const EventFile second(folder.path(), 1); }
    const auto files = files_in(folder.path());
    ASSERT_EQ(files.size(), 4U);
    EXPECT_THAT(files[1].filename().string(), HasSubstr("tfevents.9999999991."));
    EXPECT_THAT(files[2].filename().string(), HasSubstr("tfevents.9999999992."));
}

TEST(EventFile, NamesAFolderThatCannotBe) {
    const TemporaryFolder folder;
    write_text(folder.path() / "tb", "a file");
    EXPECT_THAT(test::problem_of([&] { const EventFile file(folder.path() / "tb", std::nullopt); }),
                testing::AllOf(HasSubstr("/tb: "), HasSubstr("--metrics.save_tb_folder")));
}

void draw(const std::filesystem::path& file, const std::string& prompt) {
    std::filesystem::create_directories(file.parent_path());
    const std::vector<uint8_t> rgb(8 * 4 * 3, 200);
    const PngText text{"prompt", prompt};
    write_png(file, {rgb.data(), 8, 4}, {&text, 1});
}

TEST(EventFile, LeavesOutPicturesThatCannotBeRead) {
    const TemporaryFolder folder;
    EventFile file(folder.path() / "tb", std::nullopt);
    file.pictures(1, folder.path() / "none");
    draw(folder.path() / "img/00.png", "a red circle");
    const std::string whole = read_text(folder.path() / "img/00.png");
    constexpr size_t kSignature = 8, kEnd = 12;
    write_text(folder.path() / "img/00.png", whole.substr(0, whole.size() - 1));
    write_text(folder.path() / "img/01.png", "");
    write_text(folder.path() / "img/02.png",  // chunks, but not those of a picture
               whole.substr(0, kSignature) + whole.substr(whole.size() - kEnd));
    file.pictures(1, folder.path() / "img");
    EXPECT_EQ(records_of(files_in(folder.path() / "tb")[0]).size(), 2U);
}

class ParityTensorboard : public testing::Test {
protected:
    void SetUp() override { FLUX_SKIP_WITHOUT_PYTHON_MODULE("tensorboard"); }
};

TEST_F(ParityTensorboard, ReadsFiguresPicturesAndConfiguration) {
    const TemporaryFolder folder;
    draw(folder.path() / "img/00.png", "a red circle");
    draw(folder.path() / "img/01.png", "");
    write_text(folder.path() / "img/02.png", "no picture");
    {
        Reporter reporter({.folder = folder.path(),
                           .resume_step = {},
                           .tensorboard_folder = folder.path() / "tb",
                           .config_toml = "[a]\nb = \"```\"\n"});
        for (int64_t step = 1; step <= 3; ++step) {
            reporter.train(train_line(step, 1.0 / static_cast<double>(step)));
        }
        ValidationLine line;
        line.step = 3;
        line.val_loss = 0.5;
        line.val_loss_t = {1, 2, 3, 4, 5, 6, 7, 8};
        reporter.validation(line);
        reporter.pictures(line.step, folder.path() / "img");
    }
    const json read = test::ask_python("read_events.py", {(folder.path() / "tb").string()});
    const json& scalars = read["scalars"];
    EXPECT_EQ(scalars["train/loss"], json({{1, 1.0}, {2, 0.5}, {3, 1.0F / 3.0F}}));
    for (const char* tag : {"grad_norm", "lr", "samples_per_s", "memory_gib", "data_wait"}) {
        EXPECT_EQ(scalars["train/" + std::string(tag)].size(), 3U) << tag;
    }
    EXPECT_FALSE(scalars.contains("train/mfu"));  // not known
    EXPECT_EQ(scalars["validation/val_loss"], json({{3, 0.5}}));
    EXPECT_EQ(scalars["validation/val_loss_t7"], json({{3, 8.0}}));
    ASSERT_EQ(read["images"].size(), 2U);
    const auto bytes = std::filesystem::file_size(folder.path() / "img/00.png");
    EXPECT_EQ(read["images"]["pictures/00"], json({{3, 8, 4, bytes}}));
    EXPECT_EQ(read["descriptions"]["pictures/00"], "a red circle");
    EXPECT_EQ(read["texts"]["config"], json({{0, "    [a]\n    b = \"```\"\n"}}));
    EXPECT_EQ(read["plugins"]["config"], "text");
}

// A killed run may have gone on after its last checkpoint, and its last record may be torn.
TEST_F(ParityTensorboard, DropsWhatIsDoneAgain) {
    const TemporaryFolder folder;
    ReporterSettings settings{
        .folder = folder.path(), .resume_step = {}, .tensorboard_folder = folder.path() / "tb"};
    {
        Reporter reporter(settings);
        for (int64_t step = 1; step <= 6; ++step) {
            reporter.train(train_line(step, 1));
        }
    }
    const auto first = files_in(folder.path() / "tb")[0];
    std::filesystem::resize_file(first, std::filesystem::file_size(first) - 10);
    settings.resume_step = 3;
    {
        Reporter reporter(settings);
        for (int64_t step = 4; step <= 5; ++step) {
            reporter.train(train_line(step, 2));
        }
    }
    const json read = test::ask_python("read_events.py", {(folder.path() / "tb").string()});
    EXPECT_EQ(read["scalars"]["train/loss"],
              json({{1, 1.0}, {2, 1.0}, {3, 1.0}, {4, 2.0}, {5, 2.0}}));
}

}  // namespace
}  // namespace flux::metrics
