// The table as it is in use: locked, growing, deletable, touches listed, gradients checked.
#pragma once

#include "contender.h"
#include "table.h"

namespace freshet::bench {

class Ours : public Contender {
 public:
  Ours();
  void lookup(const Batch& batch, float* out) override;
  void update(const Batch& batch, const float* gradients) override;
  // The list of touched rows begins anew.
  void sync() override { table.touched_since(0, true); }

  Table table;
};

}  // namespace freshet::bench
