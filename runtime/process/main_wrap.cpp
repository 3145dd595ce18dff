// What stands before the program's main: the place where a child process becomes weft's fork
// server.
//
// This is all there is in the library weft_main, which every executable links with -Wl,--wrap=main:
// the linker then calls __wrap_main where it would have called main, and gives main the name
// __real_main. All static constructors of the program and of its libraries have run by then, and
// nothing of the user's has. Kept out of libweft since that may be a shared library, and --wrap is
// about the program's own symbols.

extern "C" {

// The linker gives these two their names.
// NOLINTBEGIN(bugprone-reserved-identifier, readability-identifier-naming)
int __real_main(int argc, char** argv, char** environment);

/// In libweft. Returns in an ordinary start of the program.
void weft_fork_server_main(int argc, char** argv);

int __wrap_main(int argc, char** argv, char** environment) {
    weft_fork_server_main(argc, argv);
    return __real_main(argc, argv, environment);
}
// NOLINTEND(bugprone-reserved-identifier, readability-identifier-naming)
}
