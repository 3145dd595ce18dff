// The advice follows from the figures: made-up rows in, and the model that they speak for must come out.
#include "advice.hpp"

#include <optional>
#include <string>

#include <gtest/gtest.h>

#include "chart.hpp"

namespace weft_compare {
namespace {

constexpr std::uint64_t kMiB = 1024 * 1024;

const Model kSequential{"sequential", "sequential", Family::classic, "", nullptr, false};
const Model kAsyncio{"asyncio", "asyncio", Family::weft, "", nullptr, false};
const Model kToThread{"to_thread", "asyncio + to_thread", Family::weft, "", nullptr, false};
const Model kPool{"thread-pool", "a thread pool", Family::classic, "", nullptr, false};
const Model kPython{"py-asyncio", "CPython asyncio", Family::python, "", nullptr, false};

Row row_of(const Model& model, double wall_s, double cpu_s, std::uint64_t bytes,
           std::optional<double> lag_ms) {
    Sample sample;
    sample.wall_s = wall_s;
    sample.cpu_s = cpu_s;
    sample.peak_bytes = bytes;
    if (lag_ms) sample.lag = Lag{*lag_ms, *lag_ms, 100};
    Row row;
    row.model = &model;
    row.label = model.label;
    row.runs = {sample};
    return row;
}

Section section_of(std::vector<Row> rows) {
    Section section;
    section.plan.workload = Workload::cpu;
    section.plan.tasks = 100;
    section.rows = std::move(rows);
    return section;
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != text.npos; }

TEST(Advice, OfEquallyFastModelsTakesTheOneThatNeedsLess) {
    const Section section = section_of(
        {row_of(kAsyncio, 1.00, 2.0, 10 * kMiB, 1.0), row_of(kPool, 0.98, 2.0, 80 * kMiB, 1.0)});
    EXPECT_EQ(choose(section).best->model, &kAsyncio);
    EXPECT_EQ(choose(section).fastest->model, &kPool);
}

TEST(Advice, AHeartbeatOnTimeIsWorthALittleWallTime) {
    const Section section = section_of(
        {row_of(kAsyncio, 1.0, 1.0, kMiB, 900.0), row_of(kToThread, 1.2, 1.0, kMiB, 0.5)});
    EXPECT_EQ(choose(section).best->model, &kToThread);
    EXPECT_TRUE(has(advice_on(section, {}), "900 ms")) << advice_on(section, {});
}

TEST(Advice, SaysThatTheWorkBlocksTheLoopOnlyWhereItComputes) {
    Section section =
        section_of({row_of(kPool, 1.0, 1.0, kMiB, 0.5), row_of(kAsyncio, 3.0, 1.0, kMiB, 900.0)});
    EXPECT_TRUE(has(advice_on(section, {}), "where the work blocks the loop, 900 ms"))
        << advice_on(section, {});
    section.plan.workload = Workload::network;
    EXPECT_TRUE(has(advice_on(section, {}), "where the heartbeat waits its turn, 900 ms"))
        << advice_on(section, {});
}

TEST(Advice, AHeartbeatOnTimeIsNotWorthEverything) {
    const Section section = section_of(
        {row_of(kAsyncio, 1.0, 1.0, kMiB, 900.0), row_of(kToThread, 3.0, 1.0, kMiB, 0.5)});
    EXPECT_EQ(choose(section).best->model, &kAsyncio);
    EXPECT_EQ(choose(section).responsive->model, &kToThread);
    EXPECT_TRUE(has(advice_on(section, {}), "asyncio + to_thread: 3.00 s"))
        << advice_on(section, {});
}

TEST(Advice, ComparesWithDoingOneAfterTheOther) {
    const Section section = section_of(
        {row_of(kSequential, 2.0, 2.0, kMiB, std::nullopt), row_of(kPool, 1.0, 2.0, kMiB, 1.0)});
    const std::string advice = advice_on(section, {});
    EXPECT_TRUE(has(advice, "Take a thread pool: 100 tasks in 1.00 s")) << advice;
    EXPECT_TRUE(has(advice, "one after the other they take 2.00 s (2.00×)")) << advice;
}

TEST(Advice, TakesPythonOnlyWhereNothingElseRan) {
    const Row python = row_of(kPython, 0.1, 0.1, kMiB, 1.0);
    const Row pool = row_of(kPool, 1.0, 1.0, kMiB, 1.0);
    EXPECT_EQ(choose(section_of({pool, python})).best->model, &kPool);
    EXPECT_EQ(choose(section_of({python})).best->model, &kPython);
}

TEST(Advice, ARowWithAnotherResultIsNeverTaken) {
    Row wrong = row_of(kPool, 0.1, 0.1, kMiB, 1.0);
    wrong.differs = true;
    const Section section = section_of({wrong, row_of(kAsyncio, 1.0, 1.0, kMiB, 1.0)});
    EXPECT_EQ(choose(section).best->model, &kAsyncio);
}

TEST(Advice, SaysSoWhereNothingRan) {
    Row failed = row_of(kPool, 0.1, 0.1, kMiB, 1.0);
    failed.ending = Ending::failed;
    failed.runs.clear();
    const Section section = section_of({failed});
    EXPECT_EQ(choose(section).best, nullptr);
    EXPECT_FALSE(advice_on(section, {}).empty());
}

Section runaways_of(std::vector<Row> rows) {
    Section section = section_of(std::move(rows));
    section.plan.workload = Workload::runaway;
    section.plan.task_limit_ms = 200;
    section.plan.workers = 2;
    return section;
}

TEST(Advice, OfRunawaysTellsThePriceOverTheSameWorkWithoutThem) {
    Section calm = section_of({row_of(kPool, 0.5, 1.0, kMiB, 1.0)});
    calm.plan.workers = 2;
    const Section section = runaways_of({row_of(kToThread, 1.0, 1.0, kMiB, 1.0)});
    const std::string advice = advice_on(section, {calm, section});
    EXPECT_TRUE(has(advice, "2 of these 100 had to be")) << advice;
    EXPECT_TRUE(has(advice, "take 500 ms in a thread pool, so the price is 500 ms (2.00×)"))
        << advice;
    EXPECT_TRUE(has(advice, "200 ms of it are the time limits")) << advice;
}

TEST(Advice, OfRunawaysCallsNoTimeLimitAPartOfASmallerPrice) {
    Section calm = section_of({row_of(kPool, 0.9, 1.0, kMiB, 1.0)});
    calm.plan.workers = 2;
    const Section section = runaways_of({row_of(kToThread, 1.0, 1.0, kMiB, 1.0)});
    const std::string advice = advice_on(section, {calm, section});
    EXPECT_TRUE(has(advice, "the price is 100 ms (1.11×); the time limits alone take 200 ms"))
        << advice;
}

TEST(Advice, OfRunawaysTellsNoPriceAgainstOtherWork) {
    Section other = section_of({row_of(kPool, 0.5, 1.0, kMiB, 1.0)});
    other.plan.workers = 2;
    other.plan.hash_bytes = 1;
    const Section section = runaways_of({row_of(kToThread, 1.0, 1.0, kMiB, 1.0)});
    const std::string advice = advice_on(section, {other, section});
    EXPECT_TRUE(has(advice, "had to be")) << advice;
    EXPECT_FALSE(has(advice, "price")) << advice;
}

const Model kToProcess{"to_process", "asyncio + to_process", Family::weft, "", nullptr, true};
const Model kCopying{"to_process-copy", "copied", Family::weft, "", nullptr, true};

TEST(Advice, TellsWhatCopyingToProcessesCosts) {
    const std::string advice = advice_on(section_of({row_of(kToProcess, 0.5, 1.0, kMiB, 1.0),
                                                     row_of(kCopying, 1.0, 1.0, kMiB, 1.0)}),
                                         {});
    EXPECT_TRUE(has(advice, "weft::SharedBuffer in 500 ms, copied in 1.00 s (2.00×)")) << advice;
}

TEST(Chart, TellsWhyAModelDidNotRunAndEscapesIt) {
    Row failed;
    failed.model = &kPool;
    failed.label = "a thread pool";
    failed.ending = Ending::failed;
    failed.why = "<crashed> & gone";
    const std::string svg = chart_of(section_of({failed}));
    EXPECT_TRUE(has(svg, "&lt;crashed&gt; &amp; gone")) << svg;
    EXPECT_FALSE(has(svg, "<crashed>")) << svg;
}

}  // namespace
}  // namespace weft_compare
