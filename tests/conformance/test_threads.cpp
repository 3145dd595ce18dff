// test_threads.py: to_thread.
#include <thread>

#include "conformance/support.hpp"

namespace weft::test {

namespace {

WEFT_CONFORMS_ON_THREADS(test_threads, ToThreadTests);

TEST_P(ToThreadTests_on_threads, test_to_thread) {
    run([] {
        auto sum = [](int a, int b) { return a + b; };
        EXPECT_EQ(to_thread(sum, 40, 2), 42);
    });
}

TEST_P(ToThreadTests_on_threads, test_to_thread_exception) {
    run([] {
        EXPECT_EQ(what_of<std::runtime_error>(
                      [] { to_thread([] { throw std::runtime_error("test"); }); }),
                  "test");
    });
}

TEST_P(ToThreadTests_on_threads, test_to_thread_once) {
    run([] {
        int calls = 0;
        to_thread([&] { ++calls; });
        EXPECT_EQ(calls, 1);
    });
}

TEST_P(ToThreadTests_on_threads, test_to_thread_concurrent) {
    run([] {
        std::atomic<int> calls{0};
        std::vector<Task<void>> tasks;
        for (int i = 0; i < 10; ++i)
            tasks.push_back(create_task([&] { to_thread([&] { ++calls; }); }));
        gather(tasks);
        EXPECT_EQ(calls, 10);
    });
}

TEST_P(ToThreadTests_on_threads, test_to_thread_args_kwargs) {
    run([] {
        std::string text = "given";
        // By reference, since the call is waited for.
        EXPECT_EQ(to_thread([](std::string& s, int n) { return s += std::to_string(n); }, text, 1),
                  "given1");
        EXPECT_EQ(text, "given1");
    });
}

TEST_P(ToThreadTests_on_threads, test_to_thread_contextvars) {
    run([] {
        static ContextVar<std::string> parrot{"parrot", ""};
        parrot.set("dead");
        EXPECT_EQ(to_thread([] { return parrot.get(); }), "dead");
        to_thread([] { parrot.set("resting"); });
        EXPECT_EQ(parrot.get(), "dead");
    });
}

}  // namespace

}  // namespace weft::test
