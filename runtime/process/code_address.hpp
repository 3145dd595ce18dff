// Which function a call means, said so that another process can find it: {identity of the loaded
// object, offset in it}.
//
// An executable and a shared library lie at other addresses in each process, but a function keeps
// its distance from the start of the object that holds it. The identity makes sure that both
// processes have loaded the same object: its build-id, or where the linker wrote none, device,
// inode, size and time of its file. It travels with every call, so there is no handshake to get out
// of step: an object that the other side has not loaded is found out at the call.
//
// Rejected: a hash of the signature's text (g++ prints all lambdas of one function alike, and two
// files' anonymous namespaces as well), and the bare offset (an executable that was rebuilt under a
// running program would run something else at that place).
// Thread rules: any thread; takes the dynamic linker's own lock.
#pragma once

#include <array>
#include <cstdint>
#include <string>

namespace weft::rt::process {

struct CodeAddress {
    /// {kind, length, identity, zeros}
    std::array<std::uint8_t, 40> object{};
    std::uint64_t offset = 0;
};
static_assert(sizeof(CodeAddress) == 48);

/// Where `code` lies. False, with the reason in `error`: in no loaded object, or in one without an
/// identity.
bool locate_code(const void* code, CodeAddress& address, std::string& error);

/// The same place in this process. Null, with the reason in `error`: no such object is loaded here,
/// or there is no code at that offset.
const void* find_code(const CodeAddress& address, std::string& error);

/// Looks up now what find_code() would open files for: objects without a build-id. std::bad_alloc.
void remember_files();

}  // namespace weft::rt::process
