// The small rooms of weft-compare: formatting, the heartbeat's book, the plan's encoding, the word count.
#include "figures.hpp"

#include <array>
#include <mutex>
#include <string>

#include <gtest/gtest.h>

#include "format.hpp"
#include "words.hpp"

namespace weft_compare {
namespace {

using std::chrono::milliseconds;

TEST(Format, DurationsHaveThreeDigitsAndNeverAThousandOfAUnit) {
    EXPECT_EQ(duration_text(0.00085), "850 µs");
    EXPECT_EQ(duration_text(0.0009994), "999 µs");
    EXPECT_EQ(duration_text(0.0009996), "1.00 ms");
    EXPECT_EQ(duration_text(0.0123), "12.3 ms");
    EXPECT_EQ(duration_text(0.9994), "999 ms");
    EXPECT_EQ(duration_text(0.9996), "1.00 s");
    EXPECT_EQ(duration_text(9.996), "10.0 s");
    EXPECT_EQ(duration_text(200), "3 min 20 s");
    EXPECT_EQ(duration_text(3 * 3600 + 60), "3 h 1 min");
}

TEST(Format, CountsAreGroupedByThousands) {
    EXPECT_EQ(count_text(0), "0");
    EXPECT_EQ(count_text(999), "999");
    EXPECT_EQ(count_text(1'000), "1,000");
    EXPECT_EQ(count_text(1'234'567), "1,234,567");
    EXPECT_EQ(rate_text(123'456), "123,000");
    EXPECT_EQ(rate_text(44.84), "44.8");
    EXPECT_EQ(plural(1, "file"), "1 file");
    EXPECT_EQ(plural(2'000, "file"), "2,000 files");
}

TEST(Format, BytesChangeTheUnitBeforeAThousand) {
    EXPECT_EQ(bytes_text(512), "512 B");
    EXPECT_EQ(bytes_text(1023), "1.00 KiB");
    EXPECT_EQ(bytes_text(12.34 * 1024 * 1024), "12.3 MiB");
}

TEST(LagLog, AnEmptyLogHasNoSummary) {
    LagLog log;
    EXPECT_FALSE(log.summary().has_value());
}

TEST(LagLog, ABlockedLoopIsBookedForEveryBeatThatItMissed) {
    LagLog log;
    const Clock::time_point start{};
    log.start(start);
    log.beat(start + milliseconds(1));  // on time
    log.beat(start + milliseconds(101));
    const auto lag = log.summary();
    ASSERT_TRUE(lag.has_value());
    EXPECT_EQ(lag->beats, 101u);
    EXPECT_DOUBLE_EQ(lag->max_ms, 99);  // the beat due at 2 ms
    EXPECT_DOUBLE_EQ(lag->p99_ms, 98);
    EXPECT_EQ(log.due(), start + milliseconds(102));
}

TEST(LagLog, AnEarlyBeatIsNotBooked) {
    LagLog log;
    log.start(Clock::time_point{});
    log.beat(Clock::time_point{});
    EXPECT_FALSE(log.summary().has_value());
}

TEST(Plan, SurvivesItsEncodingWithAnyFileName) {
    Plan plan;
    plan.workload = Workload::mixed;
    plan.tasks = 7;
    plan.wait_ms = 0.125;
    plan.hash_bytes = 1'000'000'007;
    plan.task_limit_ms = 12.5;
    plan.buffer_bytes = std::uint64_t{5} << 32;
    plan.workers = 3;
    plan.pool = 65;
    plan.files = {"/a/line\nbreak", "/not/\xFF/utf-8", "/quote\"d"};
    const Plan copy = decode(encode(plan));
    EXPECT_EQ(copy.workload, plan.workload);
    EXPECT_EQ(copy.tasks, plan.tasks);
    EXPECT_EQ(copy.wait_ms, plan.wait_ms);
    EXPECT_EQ(copy.hash_bytes, plan.hash_bytes);
    EXPECT_EQ(copy.task_limit_ms, plan.task_limit_ms);
    EXPECT_EQ(copy.buffer_bytes, plan.buffer_bytes);
    EXPECT_EQ(copy.workers, plan.workers);
    EXPECT_EQ(copy.pool, plan.pool);
    EXPECT_EQ(copy.files, plan.files);
}

TEST(Plan, FewTasksAreSpreadOverAllFilesAndManyGoRound) {
    Plan plan;
    plan.files = {"a", "b", "c", "d", "e", "f"};
    plan.tasks = 3;
    EXPECT_EQ(plan.path_of(0) + plan.path_of(1) + plan.path_of(2), "ace");
    plan.tasks = 8;
    EXPECT_EQ(plan.path_of(5) + plan.path_of(6) + plan.path_of(7), "fab");
}

TEST(Plan, CountsItsRunaways) {
    Plan plan;
    plan.workload = Workload::runaway;
    for (const std::size_t tasks : {1, 7, 8, 57, 58, 100}) {
        plan.tasks = tasks;
        std::size_t counted = 0;
        for (std::size_t task = 0; task < tasks; ++task) counted += plan.is_runaway(task) ? 1 : 0;
        EXPECT_EQ(plan.runaways(), counted) << tasks;
    }
    plan.workload = Workload::cpu;
    EXPECT_EQ(plan.runaways(), 0u);
    EXPECT_FALSE(plan.is_runaway(7));
}

Bytes bytes_of(std::string_view text) { return {text.begin(), text.end()}; }

TEST(SharedWords, CountingApartAndMergingGivesTheSameAsCountingDirectly) {
    std::string text = "one two\tone\n\v\f\r three one  two ";
    for (int i = 0; i < 5'000; ++i) text += " w" + std::to_string(i % 1'700);
    SharedWords direct;
    direct.add_text(text);
    direct.add_text(text);

    SharedWords merged;
    std::array<std::mutex, kWordShards> locks;
    const FileWords counted(bytes_of(text));
    merged.merge(counted, locks, 0);
    merged.merge(counted, locks, kWordShards - 1);

    EXPECT_EQ(direct.distinct(), 1'703u);
    EXPECT_EQ(direct.total(), 2 * 5'006u);
    EXPECT_EQ(merged.distinct(), direct.distinct());
    EXPECT_EQ(merged.total(), direct.total());
    EXPECT_EQ(merged.checksum(), direct.checksum());
}

TEST(SharedWords, ChecksumIsTheSumOfZlibsCrcTimesTheCount) {
    SharedWords words;
    words.add_text("123456789 123456789");
    EXPECT_EQ(words.checksum(), 2 * 0xCBF43926ull);  // CRC-32's well-known check value
}

TEST(Row, MedianOfAnEvenNumberOfRunsIsTheMiddleOfTheTwo) {
    Row row;
    for (const double wall_s : {4.0, 1.0, 2.0, 3.0}) {
        Sample sample;
        sample.wall_s = wall_s;
        row.runs.push_back(sample);
    }
    EXPECT_DOUBLE_EQ(row.wall_s().median, 2.5);
    EXPECT_DOUBLE_EQ(row.wall_s().min, 1);
    EXPECT_DOUBLE_EQ(row.wall_s().max, 4);
    EXPECT_DOUBLE_EQ(row.tasks_per_s(10), 4);
}

}  // namespace
}  // namespace weft_compare
