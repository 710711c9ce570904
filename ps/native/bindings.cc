// The module ps._core. No logic: arrays in, arrays out, the GIL released. ps/table.py checks the arguments.
#include "bindings.h"

#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/unique_ptr.h>

#include <memory>
#include <random>
#include <tuple>
#include <utility>
#include <vector>

#include "table.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace freshet {
namespace {

TableConfig config(size_t dim, RowFormat format, InitializerKind initializer, float scale,
                   OptimizerKind optimizer, const OptimizerConstants& constants, uint64_t seed,
                   uint64_t placement_seed, size_t initial_capacity_rows, size_t threads, bool portable) {
  return {dim,  format,         initializer,           scale,   optimizer, constants,
          seed, placement_seed, initial_capacity_rows, threads, portable};
}

using UniqueArrays = std::tuple<Vector<int64_t>, Vector<int32_t>>;

UniqueArrays into_arrays(UniqueIds&& unique) {
  const size_t u = unique.ids.size(), n = unique.inverse.size();
  return {into_array<Vector<int64_t>>(std::move(unique.ids), {u}),
          into_array<Vector<int32_t>>(std::move(unique.inverse), {n})};
}

UniqueArrays unique(const Ids& ids) {
  // Random, for an attacker who knew it could choose ids that collide. The result does not depend on it.
  static const uint64_t seed = std::random_device()() * uint64_t{0x100000001};
  return into_arrays(released([&] { return UniqueIds(ids.data(), hash_all(ids.data(), ids.size(), seed)); }));
}

std::tuple<Vector<int64_t>, Vector<int32_t>, Matrix<float>> lookup_unique(const Table& table,
                                                                          const Ids& ids) {
  UniqueRows found = released([&] { return table.lookup_unique(ids.data(), ids.size()); });
  const size_t u = found.unique.ids.size();
  float* rows = found.rows.get();
  nb::capsule owner(found.rows.release(), [](void* p) noexcept { delete[] static_cast<float*>(p); });
  return std::tuple_cat(into_arrays(std::move(found.unique)),
                        std::tuple(Matrix<float>(rows, {u, table.dim()}, owner)));
}

using ItemArrays = std::tuple<Vector<int64_t>, Matrix<float>, Vector<int64_t>, Vector<uint32_t>>;

ItemArrays into_arrays(Items&& all, size_t row_floats) {
  const size_t n = all.ids.size();
  return {into_array<Vector<int64_t>>(std::move(all.ids), {n}),
          into_array<Matrix<float>>(std::move(all.rows), {n, row_floats}),
          into_array<Vector<int64_t>>(std::move(all.last_update_ms), {n}),
          into_array<Vector<uint32_t>>(std::move(all.counts), {n})};
}

std::tuple<Vector<int64_t>, Vector<int64_t>, Vector<uint32_t>> ages(const Table& table) {
  Items all = released([&] { return table.ages(); });
  const size_t n = all.ids.size();
  return {into_array<Vector<int64_t>>(std::move(all.ids), {n}),
          into_array<Vector<int64_t>>(std::move(all.last_update_ms), {n}),
          into_array<Vector<uint32_t>>(std::move(all.counts), {n})};
}

// Times, counts, and which of `ids` have a row.
std::tuple<Vector<int64_t>, Vector<uint32_t>, Vector<bool>> stamps(const Table& table, const Ids& ids) {
  const size_t n = ids.size();
  std::vector<Stamp> stamps(n);
  released([&] { table.stamps(ids.data(), n, stamps.data()); });
  std::vector<int64_t> times(n);
  std::vector<uint32_t> counts(n);
  auto present = std::make_unique<bool[]>(n);
  for (size_t i = 0; i < n; ++i) {
    times[i] = stamps[i].last_update_ms;
    counts[i] = stamps[i].count;
    present[i] = stamps[i].present;
  }
  bool* data = present.get();
  nb::capsule owner(present.release(), [](void* p) noexcept { delete[] static_cast<bool*>(p); });
  return {into_array<Vector<int64_t>>(std::move(times), {n}),
          into_array<Vector<uint32_t>>(std::move(counts), {n}), Vector<bool>(data, {n}, owner)};
}

void initialize_state(const Optimizer& optimizer, const Floats& state) {
  optimizer.initialize_state(state.data());
}

void step(const Optimizer& optimizer, const Floats& row, const ConstFloats& gradient, float learning_rate) {
  OptimizerBatch(optimizer, learning_rate).step(row.data(), gradient.data());
}

Vector<int64_t> touched_since(Table& table, unsigned mark, bool move) {
  std::vector<int64_t> ids = released([&] { return table.touched_since(mark, move); });
  const size_t n = ids.size();
  return into_array<Vector<int64_t>>(std::move(ids), {n});
}

}  // namespace
}  // namespace freshet

NB_MODULE(_core, m) {
  using namespace freshet;
  m.doc() = "The native part of the parameter server. Use ps.table.";

  nb::enum_<InitializerKind>(m, "InitializerKind")
      .value("zeros", InitializerKind::kZeros)
      .value("constant", InitializerKind::kConstant)
      .value("uniform", InitializerKind::kUniform)
      .value("normal", InitializerKind::kNormal)
      .value("truncated_normal", InitializerKind::kTruncatedNormal);
  nb::enum_<OptimizerKind>(m, "OptimizerKind")
      .value("none", OptimizerKind::kNone)
      .value("sgd", OptimizerKind::kSgd)
      .value("momentum", OptimizerKind::kMomentum)
      .value("adagrad", OptimizerKind::kAdagrad)
      .value("rowwise_adagrad", OptimizerKind::kRowwiseAdagrad)
      .value("adam", OptimizerKind::kAdam)
      .value("adamw", OptimizerKind::kAdamW)
      .value("rmsprop", OptimizerKind::kRmsProp)
      .value("adadelta", OptimizerKind::kAdadelta)
      .value("ftrl", OptimizerKind::kFtrl)
      .value("group_ftrl", OptimizerKind::kGroupFtrl);

  nb::enum_<BadGradients>(m, "BadGradients")
      .value("refuse", BadGradients::kRefuse)
      .value("skip", BadGradients::kSkip)
      .value("clip", BadGradients::kClip);

  nb::enum_<RowFormat>(m, "RowFormat")
      .value("float32", RowFormat::kFloat32)
      .value("float16", RowFormat::kFloat16)
      .value("int8", RowFormat::kInt8);

  nb::class_<OptimizerConstants>(m, "OptimizerConstants")
      .def(nb::init<float, bool, float, float, float, float, float, float, float, float, float, float, float,
                    float, float, float, BadGradients>(),
           nb::kw_only(), "momentum"_a, "nesterov"_a, "initial_accumulator"_a, "beta_1"_a, "beta_2"_a,
           "rho"_a, "epsilon"_a, "weight_decay"_a, "learning_rate_power"_a, "beta"_a, "l1"_a, "l2"_a,
           "l2_shrinkage"_a, "l21"_a, "clipvalue"_a, "clipnorm"_a, "bad_gradients"_a);

  nb::class_<Optimizer>(m, "Optimizer")
      .def(nb::init<OptimizerKind, const OptimizerConstants&, size_t>(), "kind"_a, "constants"_a, "dim"_a)
      .def_prop_ro("state_floats", &Optimizer::state_floats)
      .def("initialize_state", &initialize_state, "state"_a.noconvert())
      .def("step", &step, "row"_a.noconvert(), "gradient"_a.noconvert(), "learning_rate"_a,
           nb::call_guard<nb::gil_scoped_release>());

  bind_bounds(m);

  const auto release = nb::call_guard<nb::gil_scoped_release>();
  nb::class_<Cut>(m, "Cut")
      .def(
          "next",
          [](Cut& cut, size_t most) {
            return into_arrays(released([&] { return cut.next(most); }), cut.row_floats());
          },
          "most"_a)
      .def("close", &Cut::close, release);

  nb::class_<Table>(m, "Table")
      .def(
          "__init__",
          [](Table* self, size_t dim, RowFormat format, InitializerKind initializer, float scale,
             OptimizerKind optimizer, const OptimizerConstants& constants, uint64_t seed,
             uint64_t placement_seed, size_t initial_capacity_rows, size_t threads, bool portable) {
            new (self) Table(config(dim, format, initializer, scale, optimizer, constants, seed,
                                    placement_seed, initial_capacity_rows, threads, portable));
          },
          nb::kw_only(), "dim"_a, "format"_a, "initializer"_a, "scale"_a, "optimizer"_a, "constants"_a,
          "seed"_a, "placement_seed"_a, "initial_capacity_rows"_a, "threads"_a, "portable"_a)
      .def(
          "lookup",
          [](const Table& t, const Ids& ids, const RowsOut& out) {
            t.lookup(ids.data(), ids.size(), out.data());
          },
          "ids"_a.noconvert(), "out"_a.noconvert(), release)
      .def(
          "find",
          [](const Table& t, const Ids& ids, const RowsOut& out, const BoolsOut& found) {
            t.find(ids.data(), ids.size(), out.data(), found.data());
          },
          "ids"_a.noconvert(), "out"_a.noconvert(), "found"_a.noconvert(), release)
      .def("lookup_unique", &lookup_unique, "ids"_a.noconvert())
      .def(
          "apply_gradients",
          [](Table& t, const Ids& ids, const Rows& gradients, int64_t ts_ms, float learning_rate) {
            t.apply_gradients(ids.data(), ids.size(), gradients.data(), ts_ms, learning_rate);
          },
          "ids"_a.noconvert(), "gradients"_a.noconvert(), "ts_ms"_a, "learning_rate"_a, release)
      .def(
          "assign",
          [](Table& t, const Ids& ids, const Rows& rows, const Ids& last_update_ms, const Counts& counts) {
            t.assign(ids.data(), ids.size(), rows.data(), rows.shape(1), last_update_ms.data(),
                     counts.size() ? counts.data() : nullptr);
          },
          "ids"_a.noconvert(), "rows"_a.noconvert(), "last_update_ms"_a.noconvert(), "counts"_a.noconvert(),
          release)
      .def(
          "remove", [](Table& t, const Ids& ids) { return t.remove(ids.data(), ids.size()); },
          "ids"_a.noconvert(), release)
      .def(
          "oldest",
          [](const Table& t, size_t segment, size_t most) {
            return into_arrays(released([&] { return t.oldest(segment, most); }), t.row_floats());
          },
          "segment"_a, "most"_a)
      .def(
          "put_back",
          [](Table& t, const Ids& ids, const Rows& rows, const Ids& last_update_ms, const Counts& counts) {
            t.put_back(ids.data(), ids.size(), rows.data(), last_update_ms.data(), counts.data());
          },
          "ids"_a.noconvert(), "rows"_a.noconvert(), "last_update_ms"_a.noconvert(), "counts"_a.noconvert(),
          release)
      .def(
          "take_out", [](Table& t, const Ids& ids) { return t.take_out(ids.data(), ids.size()); },
          "ids"_a.noconvert(), release)
      .def("stamps", &stamps, "ids"_a.noconvert())
      .def(
          "restamp",
          [](Table& t, const Ids& ids, int64_t ts_ms) { t.restamp(ids.data(), ids.size(), ts_ms); },
          "ids"_a.noconvert(), "ts_ms"_a, release)
      .def(
          "contains",
          [](const Table& t, const Ids& ids, const BoolsOut& out) {
            t.contains(ids.data(), ids.size(), out.data());
          },
          "ids"_a.noconvert(), "out"_a.noconvert(), release)
      .def(
          "count",
          [](const Table& t, const Ids& ids, const CountsOut& out) {
            t.count(ids.data(), ids.size(), out.data());
          },
          "ids"_a.noconvert(), "out"_a.noconvert(), release)
      .def("items",
           [](const Table& t) { return into_arrays(released([&] { return t.items(); }), t.row_floats()); })
      .def("cut", &Table::cut, nb::keep_alive<0, 1>(), release)
      .def("mark", &Table::mark, release)
      .def("forget", &Table::forget, "mark"_a, release)
      .def("touched_since", &touched_since, "mark"_a, "move"_a)
      .def("clone", &Table::clone, release)
      .def("set_bounds", &Table::set_bounds, "config"_a)
      .def("start_pass", &Table::start_pass, release)
      .def("sweep", &Table::sweep, release)
      .def("bounds_counts", &Table::bounds_counts, release)
      .def("bounds_state",
           [](const Table& t) { return into_arrays(released([&] { return t.bounds_state(); })); })
      .def(
          "restore_bounds",
          [](Table& t, const Ids& numbers, const Ids& roster, const Bytes& filter) {
            return t.restore_bounds(from_arrays(numbers, roster, filter));
          },
          "numbers"_a.noconvert(), "roster"_a.noconvert(), "filter"_a.noconvert())
      .def("ages", &ages)
      .def("__len__", &Table::size, release)
      .def_prop_ro("now_ms", &Table::now_ms, release)
      .def_prop_ro("row_floats", &Table::row_floats)
      .def_prop_ro("skipped_rows", [](const Table& t) { return t.gradient_policy().skipped_rows(); })
      .def_prop_ro("clipped_rows", [](const Table& t) { return t.gradient_policy().clipped_rows(); })
      .def_prop_ro("capacity", &Table::capacity, release)
      .def_prop_ro("memory_bytes", &Table::memory_bytes, release);

  m.attr("SEGMENTS") = kSegments;
  m.def("unique", &unique, "ids"_a.noconvert());
  m.def("mix", &mix, "key"_a, "seed"_a);
}
