// All rows of a table as of one moment, read a few at a time while changes go on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "row_codec.h"
#include "segment_locks.h"

namespace freshet {

struct Items {
  std::vector<int64_t> ids;
  std::vector<float> rows;  // ids.size() x row_floats
  std::vector<int64_t> last_update_ms;
  std::vector<uint32_t> counts;

  void append(int64_t id, const std::byte* row, const RowMeta& meta, const RowCodec& codec);
};

// Whoever changes a row that was not read yet keeps it as it was (PendingCut): memory is needed for the rows
// that change meanwhile, not for all. Keys never go to an earlier piece of their map, and new rows are not
// owed, so going over the pieces once misses nothing, however much they grow. Used by one thread at a time;
// what it refers to must live longer.
class Cut {
 public:
  // Every batch is in it whole or not at all. Throws std::invalid_argument while another is not read to its
  // end.
  Cut(const Segments& segments, const RowCodec& codec, uint64_t placement_seed);
  ~Cut() { close(); }
  Cut(const Cut&) = delete;
  Cut& operator=(const Cut&) = delete;

  // At most so many rows; none: that was all.
  Items next(size_t most);
  // Lets go of what was not read.
  void close();
  size_t row_floats() const { return codec_.floats(); }

 private:
  struct Owed {
    uint64_t hash;
    uint32_t row;
  };

  void read(Segment& segment, size_t most, Items& items);
  void read_piece(Segment& segment, size_t most, Items& items);
  int64_t id_of(uint64_t hash) const;

  const Segments& segments_;
  const RowCodec& codec_;
  uint64_t placement_seed_;
  size_t segment_ = 0;
  size_t piece_ = 0;
  std::vector<Owed> keys_;  // of the piece
};

}  // namespace freshet
