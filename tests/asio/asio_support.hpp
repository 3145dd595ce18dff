// The fixture of what runs Boost's code over weft's streams.
#pragma once

#include <weft/asio.hpp>

#include <boost/asio/steady_timer.hpp>

#include "net/net_support.hpp"

namespace weft::test {

class OverAsio : public OnSockets {
protected:
    void SetUp() override {
        // Asio's own descriptors, once in a process.
        boost::asio::steady_timer timer(detail::idle_io_context());
        OnSockets::SetUp();
    }
};

}  // namespace weft::test
