#include "compute.hpp"

#include <weft/offload.hpp>
#include <weft/time.hpp>

#include <chrono>
#include <stdexcept>
#include <stop_token>

#include <openssl/evp.h>

namespace compute_server {

namespace {

using namespace std::chrono_literals;

constexpr auto kTimeLimit = 20s;

std::string hex_of(const unsigned char* bytes, unsigned n) {
    static constexpr char kDigits[] = "0123456789abcdef";
    std::string text;
    for (unsigned i = 0; i < n; ++i) {
        text += kDigits[bytes[i] >> 4];
        text += kDigits[bytes[i] & 15];
    }
    return text;
}

std::string iterated_hash(const std::stop_token& stop, std::int64_t n) {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    for (std::int64_t i = 0; i < n && !stop.stop_requested(); ++i)
        if (EVP_Digest(digest, size, digest, &size, EVP_sha256(), nullptr) != 1)
            throw std::runtime_error("OpenSSL: EVP_Digest failed");
    return hex_of(digest, size);
}

}  // namespace

std::string Compute::mandelbrot(const MandelbrotView& view) {
    return weft::timeout(kTimeLimit,
                         [&] { return weft::to_arena([&] { return mandelbrot_png(view); }); });
}

std::string Compute::hash(std::int64_t n) {
    return weft::timeout(kTimeLimit, [&] {
        return weft::to_thread([n](std::stop_token stop) { return iterated_hash(stop, n); });
    });
}

}  // namespace compute_server
