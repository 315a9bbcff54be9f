#include "config/options.h"

#include <stdexcept>

#include "config/section.h"
#include "config/values.h"
#include "config_support.h"

namespace flux::config {
namespace {

static_assert(field_count<Experimental>() == 2);
static_assert(field_count<Comm>() == 3);
static_assert(field_count<JobConfig>() == 23);

template <class... Sections>
size_t fields_of(Sections JobConfig::*...) {
    return (field_count<Sections>() + ...);
}

TEST(Options, HaveOneRowForEachMember) {
    using C = JobConfig;
    EXPECT_EQ(all_options().size(),
              fields_of(&C::job, &C::metrics, &C::mlperf, &C::model, &C::encoder, &C::training,
                        &C::dataloader, &C::optimizer, &C::lr_scheduler, &C::activation_checkpoint,
                        &C::kernels, &C::eval, &C::inference, &C::checkpoint, &C::parallelism,
                        &C::comm, &C::preprocessing, &C::profiling, &C::float8, &C::mx,
                        &C::memory_estimation, &C::fault_tolerance, &C::experimental));
}

TEST(Options, RefuseASectionWithAMemberLeftOut) {
    Section<Comm> section("comm", &JobConfig::comm);
    section.row(&Comm::trace_buf_size, "trace_buf_size", {});
    std::vector<Option> table;
    EXPECT_THROW(section.append_to(table), std::logic_error);
}

TEST(Options, AreFoundByEveryName) {
    for (const Option& option : all_options()) {
        EXPECT_EQ(find_option(option.name()), &option);
        for (const std::string& alias : option.aliases) {
            EXPECT_EQ(find_option(alias), &option);
        }
    }
    EXPECT_EQ(find_option("training.stepz"), nullptr);
}

TEST(Options, HaveDefaultsThatTheyAccept) {
    for (const Option& option : all_options()) {
        if (const std::optional<Value> value = option.fetch(JobConfig{})) {
            EXPECT_NO_THROW(convert(option, *value, option.name())) << option.name();
        } else {
            EXPECT_TRUE(option.optional) << option.name();
        }
    }
}

TEST(Options, AcceptTheValuesTheySayArePossible) {
    for (const Option& option : all_options()) {
        for (const std::optional<Value>& value : option.status.accepted) {
            if (value) {
                EXPECT_NO_THROW(convert(option, *value, option.name())) << option.name();
            }
        }
    }
}

TEST(Options, StoreIntoTheMemberTheyFetchFrom) {
    for (const Option& option : all_options()) {
        if (option.one_of.empty()) {
            continue;
        }
        for (const std::string& word : option.one_of) {
            JobConfig config;
            option.store(config, Value(word));
            EXPECT_EQ(option.fetch(config), std::optional<Value>(word)) << option.name();
        }
    }
}

TEST(NearestOption, FindsSlipsOfTheKeyAndTheWrongSection) {
    EXPECT_EQ(nearest_option("training.stpes"), "training.steps");
    EXPECT_EQ(nearest_option("training.batchsize"), "training.batch_size");
    EXPECT_EQ(nearest_option("optimiser.lr"), "optimizer.lr");
    EXPECT_EQ(nearest_option("model.max_t5_encoding_len"), "encoder.max_t5_encoding_len");
    EXPECT_EQ(nearest_option("validation.frequ"), "validation.freq");
    EXPECT_EQ(nearest_option("nothing.like_it_at_all"), std::nullopt);
    EXPECT_EQ(nearest_section("chekpoint"), "checkpoint");
    EXPECT_EQ(nearest_section("zzzzzzzzz"), std::nullopt);
}

TEST(Range, KnowsItsEnds) {
    EXPECT_TRUE(between(0, 1).contains(1));
    EXPECT_FALSE(from_below(0, 1).contains(1));
    EXPECT_TRUE(from_below(0, 1).contains(0));
    EXPECT_FALSE(above(0).contains(0));
    EXPECT_FALSE(at_least(1).contains(0));
}

}  // namespace
}  // namespace flux::config
