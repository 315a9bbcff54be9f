// Whose info lines the terminal and the file get. The logger is one for the whole process, so each
// case restores what other tests expect.
#include "flux/base/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "flux/base/error.h"

namespace flux {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class Log : public testing::Test {
protected:
    ~Log() override { log::configure({}); }

    static std::string shown(const log::Settings& settings) {
        log::configure(settings);
        testing::internal::CaptureStderr();
        log::info("for information");
        log::warning("a warning");
        log::error("an error");
        return testing::internal::GetCapturedStderr();
    }
};

TEST_F(Log, RankZeroInformsUnlessOthersAreChosen) {
    EXPECT_THAT(shown({.rank = 0}), HasSubstr("for information"));
    EXPECT_THAT(shown({.rank = 1}), Not(HasSubstr("for information")));
    EXPECT_THAT(shown({.rank = 0, .processes = 13, .shown_ranks = "1,12"}),
                Not(HasSubstr("for information")));
    EXPECT_THAT(shown({.rank = 1, .processes = 13, .shown_ranks = "1,12"}),
                HasSubstr("for information"));
    EXPECT_THAT(shown({.rank = 12, .processes = 13, .shown_ranks = "1,12"}),
                HasSubstr("for information"));
    EXPECT_THAT(shown({.rank = 2, .processes = 13, .shown_ranks = "1,12"}),
                Not(HasSubstr("for information")));
    EXPECT_THAT(shown({.rank = 7, .processes = 13, .shown_ranks = "all"}),
                HasSubstr("for information"));
}

TEST_F(Log, WarningsAndErrorsOfAnyRankShow) {
    EXPECT_THAT(shown({.rank = 3, .processes = 13, .shown_ranks = "0"}),
                AllOf(HasSubstr("a warning"), HasSubstr("an error")));
}

TEST_F(Log, WarningsAndErrorsSayWhichProcess) {
    const std::string text = shown({.rank = 0, .origin = "rank 0 on node17"});
    EXPECT_THAT(text, AllOf(HasSubstr("rank 0 on node17: a warning"),
                            HasSubstr("rank 0 on node17: an error"),
                            Not(HasSubstr("node17: for information"))));
    EXPECT_THAT(shown({}), Not(HasSubstr("rank")));
}

TEST_F(Log, RefusesWhatIsNoListOfRanks) {
    for (const char* const ranks : {"first", "0,", ",0", "-1", "0;1", "1 2", "99999999999"}) {
        EXPECT_THROW(log::configure({.rank = 0, .shown_ranks = ranks}), ConfigError) << ranks;
    }
}

TEST_F(Log, RefusesRanksThatThereAreNot) {
    EXPECT_NO_THROW(log::configure({.rank = 0, .processes = 2, .shown_ranks = "0,1"}));
    for (const char* const ranks : {"7", "0,2"}) {
        EXPECT_THAT(
            [&] { log::configure({.rank = 0, .processes = 2, .shown_ranks = ranks}); },
            testing::ThrowsMessage<ConfigError>(
                AllOf(HasSubstr(std::string("LOG_RANK=") + ranks), HasSubstr("ranks are 0 to 1"))));
    }
}

}  // namespace
}  // namespace flux
