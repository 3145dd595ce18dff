// The fixture of BaseTaskTests, whose cases lie in several files.
#pragma once

#include "conformance/support.hpp"

namespace weft::test {

class BaseTaskTests : public Everywhere {};

}  // namespace weft::test
