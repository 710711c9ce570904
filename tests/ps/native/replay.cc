// Runs the committed inputs, then as many random ones: replay CORPUS [RANDOM_INPUTS [FIRST_SEED]]
//
// A random input that fails is named by its seed; `replay CORPUS 1 SEED` runs it again.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "check.h"
#include "comparison.h"
#include "hash.h"

namespace {

using freshet::check_context;

std::vector<uint8_t> read(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<std::filesystem::path> files_of(const char* folder) {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) paths.push_back(entry.path());
  std::ranges::sort(paths);
  return paths;
}

std::vector<uint8_t> random_input(uint64_t seed) {
  std::vector<uint8_t> bytes(freshet::mix(seed, 1) % 400);
  for (size_t i = 0; i < bytes.size(); ++i)
    bytes[i] = static_cast<uint8_t>(freshet::mix(i, freshet::mix(seed, 2)));
  return bytes;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return std::fprintf(stderr, "replay CORPUS [RANDOM_INPUTS [FIRST_SEED]]\n"), 2;
  const uint64_t random_inputs = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 0;
  const uint64_t first_seed = argc > 3 ? std::strtoull(argv[3], nullptr, 10) : 0;
  size_t operations = 0;
  const auto paths = files_of(argv[1]);
  for (const auto& path : paths) {
    check_context = path.string() + ' ';
    operations += freshet::compare_with_reference(read(path));
  }
  for (uint64_t seed = first_seed; seed < first_seed + random_inputs; ++seed) {
    check_context = "random input, seed " + std::to_string(seed) + ' ';
    operations += freshet::compare_with_reference(random_input(seed));
  }
  FRESHET_CHECK(!paths.empty() && operations > paths.size());
  std::printf("replay: %zu inputs of the corpus, %llu random, %zu operations\n", paths.size(),
              static_cast<unsigned long long>(random_inputs), operations);
}
