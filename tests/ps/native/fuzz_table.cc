// For libFuzzer, which comes with clang; new inputs that are worth keeping go into the corpus:
//
//     cmake -S tests/ps/native -B .cache/fuzz -G Ninja -DCMAKE_CXX_COMPILER=clang++ \
//         -DFRESHET_SANITIZERS=address,undefined,fuzzer-no-link && cmake --build .cache/fuzz --target
//         fuzz_table
//     .cache/fuzz/fuzz_table -max_len=2048 FOUND tests/ps/native/corpus
#include <cstddef>
#include <cstdint>

#include "comparison.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  freshet::compare_with_reference({data, size});
  return 0;
}
