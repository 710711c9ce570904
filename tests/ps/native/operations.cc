#include "operations.h"

#include <algorithm>
#include <limits>

#include "hash.h"

namespace freshet {
namespace {

constexpr size_t kDims[] = {1, 2, 5, 16, 33};
constexpr size_t kCapacities[] = {0, 1, 1000, 50'000};

// One byte stands for up to 16,384 ids: such a batch into one segment splits its first piece, and takes three
// threads.
size_t length_of(uint8_t byte) {
  if (byte < 128) return byte;
  return byte < 224 ? (byte - 127u) * 16 : (byte - 223u) * 512;
}

TableConfig config_of(const uint8_t* header) {
  TableConfig config{};
  config.dim = kDims[header[0] % std::size(kDims)];
  config.initializer = static_cast<InitializerKind>(header[0] / 8 % 5);
  config.scale = 0.25f;
  config.optimizer = static_cast<OptimizerKind>(header[1] % 16 % 11);
  config.constants = {.momentum = 0.5f,
                      .initial_accumulator = 0.5f,
                      .beta_1 = 0.75f,
                      .beta_2 = 0.875f,
                      .rho = 0.75f,
                      .epsilon = 1e-7f,
                      .learning_rate_power = -0.5f,
                      .l2 = header[1] & 16 ? 0.03125f : 0.0f,
                      .bad_gradients = static_cast<BadGradients>(header[1] / 64 % 3)};
  config.threads = 1 + header[3] / 4 % 3;
  // A row with optimizer state is float32.
  if (config.optimizer == OptimizerKind::kNone) config.format = static_cast<RowFormat>(header[2] % 3);
  config.portable = header[1] & 32;
  config.seed = header[2];
  config.placement_seed = mix(header[2], kGolden);
  config.initial_capacity_rows = kCapacities[header[3] % std::size(kCapacities)];
  return config;
}

}  // namespace

Program::Program(std::span<const uint8_t> bytes) : bytes_(bytes) {
  uint8_t header[kHeaderBytes] = {};
  for (size_t i = 0; i < kHeaderBytes && i < bytes.size(); ++i) header[i] = bytes[i];
  config_ = config_of(header);
  bytes_ = bytes.subspan(std::min(kHeaderBytes, bytes.size()));
}

std::optional<Operation> Program::next() {
  if (bytes_.size() < kOperationBytes) return std::nullopt;
  const uint8_t* b = bytes_.data();
  bytes_ = bytes_.subspan(kOperationBytes);
  const size_t n = length_of(b[2]);
  if (n > ids_left_) return std::nullopt;
  ids_left_ -= n;
  const uint64_t start = b[3] | uint64_t{b[4]} << 8;
  return Operation{static_cast<Act>(b[0] % kActs), ids(b[1], n, start, b[5]), b[6],
                   int64_t{static_cast<int8_t>(b[7])} << 35};
}

std::vector<int64_t> Program::ids(unsigned family, size_t n, uint64_t start, uint64_t step) const {
  const auto id = [&](uint64_t i) -> uint64_t {
    switch (family % 7) {
      case 0:
        return start + i * step;
      case 1:
        return (start + i) << (step % 64);
      case 2:
        return (start + i * step) % 17;
      case 3:
        return mix(start + i, step);
      case 4:  // all in one segment
        return unmix((step << 58) | (mix(start + i, 0) >> kSegmentBits), config_.placement_seed);
      case 5:  // all in one entry of the directory, however deep it is
        return unmix((step << 44) | (start + i), config_.placement_seed);
      default:  // from both ends of the integers
        return (uint64_t{1} << 63) + (i % 2 ? start + i : ~(start + i));
    }
  };
  std::vector<int64_t> ids(n);
  for (size_t i = 0; i < n; ++i) ids[i] = static_cast<int64_t>(id(i));
  return ids;
}

BoundsConfig bounds_of(const Operation& operation) {
  constexpr size_t kMostRows[] = {0xffff'fffe, 1, 100, 3000};
  const uint64_t seed = operation.seed;
  BoundsConfig config{};
  config.min_count = static_cast<uint32_t>(1 + seed % 4);
  config.window_ms = std::max<int64_t>(0, operation.ts_ms);
  config.tracked_ids = 5000;
  config.probability = config.min_count == 1 && seed & 64 ? 0.5 : 1.0;
  config.expire_after_ms = static_cast<int64_t>(seed / 4 % 4) << 35;
  config.max_rows = kMostRows[seed / 16 % 4];
  config.when_full = static_cast<WhenFull>(seed / 64 % 3);
  config.slice_rows = 200;
  config.room_rows = 400;
  config.seed = seed;
  return config;
}

std::vector<float> floats_of(uint64_t seed, size_t n) {
  std::vector<float> values(n);
  for (size_t i = 0; i < n; ++i) {
    values[i] = static_cast<float>(static_cast<int>(mix(i, seed) & 255) - 128) / 16;
  }
  return values;
}

}  // namespace freshet
