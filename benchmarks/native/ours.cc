#include "ours.h"

#include "adagrad.h"
#include "hash.h"

namespace freshet::bench {
namespace {

TableConfig config() {
  TableConfig config{};
  config.dim = kDim;
  config.initializer = InitializerKind::kUniform;
  config.scale = 0.05f;
  config.optimizer = OptimizerKind::kAdagrad;
  config.constants.initial_accumulator = kInitialAccumulator;
  config.constants.epsilon = kEpsilon;
  config.seed = 1;
  config.placement_seed = kGolden;
  config.initial_capacity_rows = 1024;
  return config;
}

}  // namespace

Ours::Ours() : table(config()) {}

void Ours::lookup(const Batch& batch, float* out) { table.lookup(batch.ids.data(), batch.ids.size(), out); }

void Ours::update(const Batch& batch, const float* gradients) {
  table.apply_gradients(batch.ids.data(), batch.ids.size(), gradients, 0, kLearningRate);
}

std::vector<Entry> ours_entries() {
  return {{.name = "ours", .make = [](size_t) { return std::make_unique<Ours>(); }}};
}

}  // namespace freshet::bench
