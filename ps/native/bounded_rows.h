// What bounds see of the rows that they bound, wherever those lie.
#pragma once

#include <cstddef>
#include <cstdint>

namespace freshet {

// What is known of an id beside its values.
struct Stamp {
  int64_t last_update_ms;
  uint32_t count;
  bool present;
};

class BoundedRows {
 public:
  virtual size_t size() const = 0;
  virtual void contains(const int64_t* ids, size_t n, bool* out) const = 0;
  virtual void stamps(const int64_t* ids, size_t n, Stamp* out) const = 0;
  // How many were there; they count as changed.
  virtual size_t drop(const int64_t* ids, size_t n) = 0;
  // Sets the update time of those of `ids` that have a row; they do not count as changed.
  virtual void restamp(const int64_t* ids, size_t n, int64_t ts_ms) = 0;

 protected:
  ~BoundedRows() = default;
};

}  // namespace freshet
