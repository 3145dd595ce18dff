// weft-compare: asyncio, threads or processes? The door: reads the options, runs the study, writes
// the reports.
//
// The rooms behind it: options (command line), input and sizes (what is done), study (in which
// order), supervise, child_process and process_tree (each model in its own process), child and models_* (the
// inside of such a process), server (whom the network workload asks), workload and measure (the work and the figures),
// report_* and advice (what people get to see).
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <optional>
#include <string>
#include <system_error>

#include <fmt/format.h>
#include <unistd.h>

#include "child.hpp"
#include "options.hpp"
#include "progress.hpp"
#include "report_html.hpp"
#include "report_json.hpp"
#include "report_table.hpp"
#include "server.hpp"
#include "study.hpp"
#include "supervise.hpp"

namespace weft_compare {
namespace {

// A full disk shows itself at the write, at the flush or only at the close: all are checked.
void write_file(const std::string& path, const std::string& text) {
    if (path.empty()) return;
    errno = 0;
    std::FILE* const file = std::fopen(path.c_str(), "we");
    bool ok = file != nullptr;
    ok = ok && std::fwrite(text.data(), 1, text.size(), file) == text.size();
    ok = ok && std::fflush(file) == 0;
    const int error = errno;
    const bool closed = file == nullptr || std::fclose(file) == 0;
    if (ok && closed) return;
    throw std::system_error(ok ? errno : error, std::generic_category(), "cannot write " + path);
}

void print_table(const Study& study) {
    const bool colour =
        ::isatty(STDOUT_FILENO) == 1 &&
        std::getenv("NO_COLOR") == nullptr;  // NOLINT(concurrency-mt-unsafe): no thread yet
    const std::string table = table_of(study, colour ? Colour::ansi : Colour::none);
    errno = 0;
    if (std::fwrite(table.data(), 1, table.size(), stdout) != table.size() ||
        std::fflush(stdout) != 0) {
        throw std::system_error(errno, std::generic_category(), "cannot write the table");
    }
}

int run_supervisor(int argc, char** argv) {
    const std::optional<Options> options = parse_options(argc, argv);
    if (!options) return 0;
    catch_interrupts();
    raise_descriptor_limit();
    Progress progress;
    const Study study = run_study(*options, progress);
    progress.clear();
    // The table first: it is on the screen even where a file cannot be written.
    print_table(study);
    write_file(options->json_path, json_of(study));
    write_file(options->html_path, html_of(study));
    return study.all_well() ? 0 : 1;
}

// After the destructors have run, so that the bar is gone: ends the way the signal would have ended
// us, which tells a calling shell script to stop as well.
int end_by(int signal) {
    std::signal(signal, SIG_DFL);
    ::raise(signal);
    return 128 + signal;
}

int compare_main(int argc, char** argv) {
    try {
        if (argc == 5 && argv[1] == kRunModelOption) {
            return run_child(argv[2], argv[3], argv[4]);
        }
        if (argc == 5 && argv[1] == kServeOption) return run_server(argv[2], argv[3], argv[4]);
        return run_supervisor(argc, argv);
    } catch (const BadOptions& error) {
        fmt::print(stderr, "weft-compare: {} (see --help)\n", error.what());
        return 2;
    } catch (const Interrupted& interrupted) {
        return end_by(interrupted.signal);
    } catch (const std::exception& error) {
        fmt::print(stderr, "weft-compare: {}\n", error.what());
        return 1;
    }
}

}  // namespace
}  // namespace weft_compare

int main(int argc, char** argv) { return weft_compare::compare_main(argc, argv); }
