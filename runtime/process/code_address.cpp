#include "process/code_address.hpp"

#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <memory>
#include <vector>

#include <elf.h>
#include <link.h>
#include <sys/stat.h>

namespace weft::rt::process {

namespace {

enum ObjectKind : std::uint8_t { build_id = 1, file = 2 };

using Identity = std::array<std::uint8_t, 40>;
constexpr std::size_t kIdentityBytesMax = sizeof(Identity) - 2;

Identity make_identity(ObjectKind kind, const void* bytes, std::size_t size) {
    Identity identity{};
    identity[0] = kind;
    identity[1] = static_cast<std::uint8_t>(size);
    std::memcpy(identity.data() + 2, bytes, size);
    return identity;
}

bool contains(const dl_phdr_info& object, std::uintptr_t address, bool executable) {
    for (int i = 0; i < object.dlpi_phnum; ++i) {
        const ElfW(Phdr)& part = object.dlpi_phdr[i];
        if (part.p_type != PT_LOAD || (executable && (part.p_flags & PF_X) == 0)) continue;
        std::uintptr_t start = object.dlpi_addr + part.p_vaddr;
        if (address - start < part.p_memsz) return true;
    }
    return false;
}

std::size_t round_up(std::size_t value, std::size_t alignment) {
    return (value + alignment - 1) / alignment * alignment;
}

/// Looks for NT_GNU_BUILD_ID in one segment of notes.
bool read_build_id(const std::uint8_t* notes, std::size_t size, std::size_t alignment,
                   Identity& identity) {
    std::size_t at = 0;
    while (size - at >= sizeof(ElfW(Nhdr))) {
        ElfW(Nhdr) note;
        std::memcpy(&note, notes + at, sizeof note);
        std::size_t name = at + sizeof note;
        std::size_t content = name + round_up(note.n_namesz, alignment);
        std::size_t next = content + round_up(note.n_descsz, alignment);
        if (content + note.n_descsz > size) return false;
        if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 &&
            std::memcmp(notes + name, "GNU", 4) == 0 && note.n_descsz > 0 &&
            note.n_descsz <= kIdentityBytesMax) {
            identity = make_identity(build_id, notes + content, note.n_descsz);
            return true;
        }
        if (next > size) return false;
        at = next;
    }
    return false;
}

bool build_id_of(const dl_phdr_info& object, Identity& identity) {
    for (int i = 0; i < object.dlpi_phnum; ++i) {
        const ElfW(Phdr)& part = object.dlpi_phdr[i];
        if (part.p_type != PT_NOTE) continue;
        std::uintptr_t address = object.dlpi_addr + part.p_vaddr;
        // A stripped or rewritten file may have notes that are not loaded.
        if (part.p_memsz == 0 || !contains(object, address, false) ||
            !contains(object, address + part.p_memsz - 1, false)) {
            continue;
        }
        const auto* notes = reinterpret_cast<const std::uint8_t*>(address);
        if (read_build_id(notes, part.p_memsz, part.p_align == 8 ? 8 : 4, identity)) return true;
    }
    return false;
}

std::uintptr_t first_byte_of(const dl_phdr_info& object) {
    for (int i = 0; i < object.dlpi_phnum; ++i) {
        const ElfW(Phdr)& part = object.dlpi_phdr[i];
        if (part.p_type == PT_LOAD) return object.dlpi_addr + part.p_vaddr;
    }
    return 0;
}

/// The file behind an address as the kernel has it mapped, which the path alone cannot tell: it may
/// name another file by now.
bool file_of(std::uintptr_t address, Identity& identity) {
    std::unique_ptr<std::FILE, int (*)(std::FILE*)> maps(std::fopen("/proc/self/maps", "re"),
                                                         &std::fclose);
    if (maps == nullptr) return false;
    char line[4096 + 128];
    while (std::fgets(line, sizeof line, maps.get()) != nullptr) {
        std::uintptr_t start = 0;
        std::uintptr_t end = 0;
        std::uint64_t inode = 0;
        int path_at = 0;
        if (std::sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %*s %*s %*s %" SCNu64 " %n", &start, &end,
                        &inode, &path_at) < 3) {
            continue;
        }
        if (address < start || address >= end) continue;
        line[std::strcspn(line, "\n")] = '\0';
        struct stat status{};
        if (::stat(line + path_at, &status) != 0 || status.st_ino != inode) return false;
        const std::uint64_t facts[] = {
            status.st_dev, status.st_ino, static_cast<std::uint64_t>(status.st_size),
            static_cast<std::uint64_t>(status.st_mtim.tv_sec) * 1'000'000'000U +
                static_cast<std::uint64_t>(status.st_mtim.tv_nsec)};
        identity = make_identity(file, facts, sizeof facts);
        return true;
    }
    return false;
}

struct KnownFile {
    std::uintptr_t first_byte;
    Identity identity;
};
/// What remember_files() has found; the worker's main thread's.
std::vector<KnownFile>& known_files() {
    static std::vector<KnownFile> files;
    return files;
}

int remember_file(dl_phdr_info* object, std::size_t, void*) {
    Identity identity{};
    std::uintptr_t first_byte = first_byte_of(*object);
    if (build_id_of(*object, identity) || !file_of(first_byte, identity)) return 0;
    known_files().push_back({first_byte, identity});
    return 0;
}

bool file_known_or_found(std::uintptr_t first_byte, Identity& identity) {
    for (const KnownFile& file : known_files()) {
        if (file.first_byte != first_byte) continue;
        identity = file.identity;
        return true;
    }
    return file_of(first_byte, identity);
}

bool identify(const dl_phdr_info& object, Identity& identity) {
    return build_id_of(object, identity) || file_of(first_byte_of(object), identity);
}

std::string name_of(const dl_phdr_info& object) {
    return object.dlpi_name == nullptr || *object.dlpi_name == '\0' ? "the program"
                                                                    : object.dlpi_name;
}

struct Locate {
    std::uintptr_t code;
    CodeAddress& address;
    std::string& error;
    bool found = false;
    bool known = false;
};

int locate_in(dl_phdr_info* object, std::size_t, void* argument) {
    auto& wanted = *static_cast<Locate*>(argument);
    if (!contains(*object, wanted.code, false)) return 0;
    wanted.found = true;
    wanted.address.offset = wanted.code - object->dlpi_addr;
    wanted.known = identify(*object, wanted.address.object);
    if (!wanted.known) {
        wanted.error = name_of(*object) +
                       " has no build-id (link it with -Wl,--build-id), and its file is no longer "
                       "the one that was loaded";
    }
    return 1;
}

struct Find {
    const CodeAddress& address;
    std::string& error;
    std::uintptr_t code = 0;
    bool loaded = false;
};

int find_in(dl_phdr_info* object, std::size_t, void* argument) {
    auto& wanted = *static_cast<Find*>(argument);
    Identity identity{};
    bool known = wanted.address.object[0] == build_id
                     ? build_id_of(*object, identity)
                     : !build_id_of(*object, identity) &&
                           file_known_or_found(first_byte_of(*object), identity);
    if (!known || identity != wanted.address.object) return 0;
    wanted.loaded = true;
    std::uintptr_t code = object->dlpi_addr + wanted.address.offset;
    if (contains(*object, code, true)) {
        wanted.code = code;
    } else {
        wanted.error = "there is no code at that place of " + name_of(*object);
    }
    return 1;
}

}  // namespace

bool locate_code(const void* code, CodeAddress& address, std::string& error) {
    Locate wanted{reinterpret_cast<std::uintptr_t>(code), address, error};
    ::dl_iterate_phdr(&locate_in, &wanted);
    if (!wanted.found) error = "the function lies in no loaded program or library";
    return wanted.known;
}

const void* find_code(const CodeAddress& address, std::string& error) {
    Find wanted{address, error};
    ::dl_iterate_phdr(&find_in, &wanted);
    if (!wanted.loaded) {
        error =
            "the program or library that holds the function is not loaded in the worker process, "
            "or is another build there: workers have what the program is linked with, and nothing "
            "that it opened at run time (dlopen)";
    }
    return reinterpret_cast<const void*>(wanted.code);
}

void remember_files() {
    known_files().clear();
    ::dl_iterate_phdr(&remember_file, nullptr);
}

}  // namespace weft::rt::process
