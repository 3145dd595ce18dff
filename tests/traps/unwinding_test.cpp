// Waiting in a destructor, cancelled: a CancelledError that left a destructor would end the program.
//
// While an exception is in flight, waits are shielded by themselves. A destructor that runs normally cannot be told
// from other code, so it opens a ShieldScope.
#include <weft/weft.hpp>

#include <stdexcept>
#include <string>

#include <gtest/gtest.h>

namespace {

using namespace std::chrono_literals;

/// Runs `body` in a task that is cancelled once it has announced itself, in virtual time.
template <class Body>
bool ends_cancelled(Body body) {
    bool cancelled = false;
    weft::testing::simulate(1, [&] {
        weft::Event ready;
        auto task = weft::create_task([&] { body(ready); });
        ready.wait();
        task.cancel();
        try {
            weft::await(task);
        } catch (const weft::CancelledError&) {
            cancelled = true;
        }
    });
    return cancelled;
}

/// Waits in its destructor, as a connection that flushes.
struct Flushes {
    weft::Event& ready;
    bool& flushed;
    ~Flushes() {
        ready.set();
        weft::sleep(1s);
        flushed = true;
    }
};

TEST(Unwinding, ACancelDoesNotThrowOutOfADestructorDuringUnwinding) {
    bool flushed = false;
    std::string caught;
    bool cancelled = ends_cancelled([&](weft::Event& ready) {
        try {
            Flushes connection{ready, flushed};
            throw std::runtime_error("broken");
        } catch (const std::runtime_error& e) {
            caught = e.what();
        }
        weft::sleep(1h);
    });
    EXPECT_TRUE(flushed);
    EXPECT_EQ(caught, "broken");
    EXPECT_TRUE(cancelled) << "the cancel was not kept for the next wait";
}

TEST(Unwinding, ACancelThatIsDueAlreadyDoesNotThrowEither) {
    bool flushed = false;
    bool cancelled = ends_cancelled([&](weft::Event& ready) {
        ready.set();
        try {
            weft::sleep(1h);
        } catch (const weft::CancelledError&) {
            weft::current_task().cancel();
            weft::Event nobody;
            Flushes connection{nobody, flushed};
            throw;
        }
    });
    EXPECT_TRUE(flushed);
    EXPECT_TRUE(cancelled);
}

TEST(Unwinding, AShieldScopeProtectsADestructorThatRunsNormally) {
    struct Shielded {
        weft::Event& ready;
        bool& flushed;
        ~Shielded() {
            weft::ShieldScope shield;
            ready.set();
            weft::sleep(1s);
            flushed = true;
        }
    };
    bool flushed = false;
    bool went_on = false;
    bool cancelled = ends_cancelled([&](weft::Event& ready) {
        {
            Shielded connection{ready, flushed};
        }
        went_on = true;
        weft::sleep(1h);
    });
    EXPECT_TRUE(flushed);
    EXPECT_TRUE(went_on);
    EXPECT_TRUE(cancelled);
}

TEST(Unwinding, AThrowingDestructorThatRunsNormallyMayBeCancelled) {
    struct MayThrow {
        weft::Event& ready;
        ~MayThrow() noexcept(false) {
            ready.set();
            weft::sleep(1h);
        }
    };
    bool thrown = false;
    EXPECT_TRUE(ends_cancelled([&](weft::Event& ready) {
        try {
            MayThrow object{ready};
        } catch (const weft::CancelledError&) {
            thrown = true;
            throw;
        }
    }));
    EXPECT_TRUE(thrown);
}

// What a cleanup awaits is not cancelled in its place.
TEST(Unwinding, ACancelDoesNotGoOnToWhatADestructorAwaits) {
    bool cleaned = false;
    struct Awaits {
        weft::Event& ready;
        bool& cleaned;
        ~Awaits() {
            auto cleanup = weft::create_task([this] {
                ready.set();
                weft::sleep(1s);
                cleaned = true;
            });
            weft::await(cleanup);
        }
    };
    bool cancelled = ends_cancelled([&](weft::Event& ready) {
        try {
            Awaits object{ready, cleaned};
            throw std::runtime_error("broken");
        } catch (const std::runtime_error&) {
        }
        weft::sleep(1h);
    });
    EXPECT_TRUE(cleaned);
    EXPECT_TRUE(cancelled);
}

TEST(Unwinding, ACatchOfStdExceptionLetsACancelPass) {
    bool swallowed = false;
    EXPECT_TRUE(ends_cancelled([&](weft::Event& ready) {
        ready.set();
        try {
            weft::sleep(1h);
        } catch (const std::exception&) {
            swallowed = true;
        }
    }));
    EXPECT_FALSE(swallowed);
}

}  // namespace
