// What a proof does when it finds the table wrong: says where and on which input, and aborts, as fuzzers want
// it.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <string>

namespace freshet {

// What is being tried, for the message.
inline thread_local std::string check_context;

[[noreturn]] inline void fail_check(const char* what, const char* file, int line) {
  std::fprintf(stderr, "%s:%d: not true: %s\n  %s\n", file, line, what, check_context.c_str());
  std::abort();
}

}  // namespace freshet

// Unlike assert, in release builds too.
#define FRESHET_CHECK(condition) \
  ((condition) ? static_cast<void>(0) : ::freshet::fail_check(#condition, __FILE__, __LINE__))
