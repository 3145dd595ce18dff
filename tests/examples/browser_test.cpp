// The compute server's page in a real browser: the script there opens a WebSocket, and what comes back by it stands in the page.
// Needs Chromium, which neither tests/run nor CI installs: it is larger than all else together.

#include <filesystem>

#include <stdlib.h>

#include "compute_server_support.hpp"

namespace weft::test {

namespace {

class Browser {
public:
    Browser()
        : profile_((std::filesystem::temp_directory_path() / "weft-browser-XXXXXX").string()) {
        if (::mkdtemp(profile_.data()) == nullptr) profile_.clear();
        for (const char* name : {"chromium", "chromium-browser", "google-chrome"})
            if (program_.empty() && shows(name, "data:text/html,<p>works", "<p>works"))
                program_ = name;
    }
    ~Browser() {
        if (!profile_.empty()) std::filesystem::remove_all(profile_);
    }
    Browser(const Browser&) = delete;
    Browser& operator=(const Browser&) = delete;

    /// Whether this machine has one that can show a page.
    bool works() const { return !program_.empty(); }
    /// The page at `url` as it is after three seconds of its own time.
    std::string page(const std::string& url) const { return page(program_, url); }

private:
    bool shows(const std::string& program, const std::string& url, const std::string& text) const {
        try {
            return contains(page(program, url), text);
        } catch (const std::system_error&) {
            return false;  // there is none
        }
    }
    std::string page(const std::string& program, const std::string& url) const {
        Process process = create_subprocess_exec(
            {program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
             "--user-data-dir=" + profile_, "--virtual-time-budget=3000", "--dump-dom", url},
            {.in = Stdio::devnull, .out = Stdio::pipe, .err = Stdio::devnull});
        return process.communicate().first;
    }

    std::string profile_;
    std::string program_;
};

// Its page asks for a picture too, so this is one of the arena's.
class ArenaOfComputeServersPage : public ComputeServerTest {};

TEST_F(ArenaOfComputeServersPage, ABrowsersWebSocketEchoes) {
    run([] {
        Browser browser;
        if (!browser.works()) GTEST_SKIP() << "this machine has no browser";
        ComputeServer server;
        std::string page = browser.page(server.url("/"));
        EXPECT_TRUE(contains(page, "<output id=\"pulse\">the server answers in ")) << page;
        server.await_metric("websockets_open 0");
    });
}

}  // namespace

}  // namespace weft::test
