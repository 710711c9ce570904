// How a loop gets compiled twice: a body marked FRESHET_INLINE is inlined into a portable function and into
// one marked FRESHET_AVX2, and has_avx2() chooses when the program runs. Without fused multiply-add
// (-ffp-contract=off) both round alike.
#pragma once

#if defined(__x86_64__)
#define FRESHET_AVX2 __attribute__((target("avx2")))
#define FRESHET_F16C __attribute__((target("avx2,f16c")))
#define FRESHET_AVX512 __attribute__((target("avx512f,avx512dq,avx512vl")))
#else
#define FRESHET_AVX2
#define FRESHET_F16C
#define FRESHET_AVX512
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

// For products of 64 bits, which AVX2 has not.
inline bool has_avx512() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl");
#else
  return false;
#endif
}

}  // namespace freshet
