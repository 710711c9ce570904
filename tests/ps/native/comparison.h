// The table against its reference, call by call.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace freshet {

// Aborts at the first difference. How many operations there were.
size_t compare_with_reference(std::span<const uint8_t> bytes);

}  // namespace freshet
