#include "comparison.h"

#include "check.h"
#include "operations.h"
#include "reference.h"
#include "subject.h"

namespace freshet {
namespace {

constexpr Operation kItems{Act::kItems, {}, 0, 0};
constexpr Operation kTouched{Act::kTouched, {}, 0, 0};

}  // namespace

size_t compare_with_reference(std::span<const uint8_t> bytes) {
  Program program(bytes);
  Subject<Table> table(program.config());
  Subject<Reference> reference(program.config());
  size_t done = 0;
  while (const std::optional<Operation> operation = program.next()) {
    check_context += '.';
    FRESHET_CHECK(table.perform(*operation) == reference.perform(*operation));
    FRESHET_CHECK(table.table().size() == reference.table().size());
    FRESHET_CHECK(table.table().bounds_counts() == reference.table().bounds_counts());
    FRESHET_CHECK(table.table().capacity() >= table.table().size());
    ++done;
  }
  FRESHET_CHECK(table.perform(kTouched) == reference.perform(kTouched));
  FRESHET_CHECK(table.perform(kItems) == reference.perform(kItems));
  return done;
}

}  // namespace freshet
