// A fork server that is of another version than the program, as after an update of libweft below a
// running one: no call runs, its caller is told, and main does not run a second time.
//
// The other library is played by a static constructor: in the server it changes the orders before
// weft reads them.
#include <weft/process.hpp>

#include <cstdlib>
#include <exception>
#include <string>

#include <gtest/gtest.h>
#include <unistd.h>

#include "offload/process_support.hpp"

namespace {

using weft::ProcessPool;
using weft::test::Runs;

constexpr const char* kOrders = "WEFT_FORK_SERVER";
constexpr const char* kChange = "WEFT_TEST_CHANGE_ORDERS";
constexpr const char* kMainRuns = "WEFT_TEST_MAIN_RUNS";

// NOLINTBEGIN(concurrency-mt-unsafe)

/// Before main.
const bool changed = [] {
    const char* orders = std::getenv(kOrders);
    const char* change = std::getenv(kChange);
    if (orders == nullptr || change == nullptr) return false;
    std::string text = orders;
    if (std::string(change) == "version") {
        text = "weft65535:" + text.substr(text.find(':') + 1);
    } else {
        text.resize(text.size() - 2);
    }
    return ::setenv(kOrders, text.c_str(), 1) == 0;
}();

/// In main.
struct MainRuns : testing::Environment {
    void SetUp() override {
        const char* path = std::getenv(kMainRuns);
        if (path == nullptr) return;
        Runs::add(path);
        ::_exit(0);
    }
};
testing::Environment* const environment = testing::AddGlobalTestEnvironment(new MainRuns);

/// The environment of the servers that are started meanwhile.
class ForServers {
public:
    ForServers(const char* name, const std::string& value) : name_(name) {
        ::setenv(name, value.c_str(), 1);
        ::setenv(kMainRuns, runs_.path().c_str(), 1);
    }
    ~ForServers() {
        ::unsetenv(name_);
        ::unsetenv(kMainRuns);
    }
    ForServers(const ForServers&) = delete;
    ForServers& operator=(const ForServers&) = delete;
    /// In processes that were meant as servers.
    int runs_of_main() const { return runs_.count(); }

private:
    const char* name_;
    Runs runs_;
};

// NOLINTEND(concurrency-mt-unsafe)

std::string error_of_a_call() {
    ProcessPool pool{{.workers = 1}};
    try {
        pool.run([] {});
    } catch (const weft::Error& error) {
        return error.what();
    }
    return "it returned";
}

TEST(ProcessVersion, OfAnotherServerIsAClearErrorAndMainDoesNotRunAgain) {
    ForServers servers(kChange, "version");
    std::string text = error_of_a_call();
    EXPECT_NE(text.find("the fork server is of another version of weft"), std::string::npos)
        << text;
    EXPECT_EQ(servers.runs_of_main(), 0);
}

TEST(ProcessVersion, OfAServerWithOtherOrdersIsAClearErrorAndMainDoesNotRunAgain) {
    ForServers servers(kChange, "length");
    std::string text = error_of_a_call();
    EXPECT_NE(text.find("the fork server is of another version of weft"), std::string::npos)
        << text;
    EXPECT_EQ(servers.runs_of_main(), 0);
}

TEST(ProcessVersion, IsNotReadFromAVariableThatTheProgramHasSet) {
    ForServers servers(kOrders, "yes");
    EXPECT_EQ(error_of_a_call(), "it returned");
    EXPECT_EQ(servers.runs_of_main(), 0);
}

}  // namespace
