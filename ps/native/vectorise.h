// How a loop gets compiled twice: a body marked FRESHET_INLINE is inlined into a portable function and into
// one marked FRESHET_AVX2, and has_avx2() chooses when the program runs. Without fused multiply-add
// (-ffp-contract=off) both round alike.
#pragma once

#if defined(__x86_64__)
#define FRESHET_AVX2 __attribute__((target("avx2")))
#define FRESHET_F16C __attribute__((target("avx2,f16c")))
#else
#define FRESHET_AVX2
#define FRESHET_F16C
#endif
#define FRESHET_INLINE inline __attribute__((always_inline))

namespace freshet {

inline bool has_avx2() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx2");
#else
  return false;
#endif
}

inline bool has_f16c() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("f16c");
#else
  return false;
#endif
}

}  // namespace freshet
