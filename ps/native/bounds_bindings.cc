// The part of the module ps._core that bounds tables, also those of which Python has a part.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/tuple.h>

#include <algorithm>
#include <stdexcept>

#include "bindings.h"

namespace freshet {

using namespace nb::literals;

namespace {

template <class T>
using ArrayIn = nb::ndarray<const T, nb::numpy, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

// Rows that Python moves about: an object with the methods of BoundedRows. Needs the GIL.
class PythonRows final : public BoundedRows {
 public:
  explicit PythonRows(nb::handle rows) : rows_(rows) {}

  size_t size() const override { return nb::len(rows_); }
  void contains(const int64_t* ids, size_t n, bool* out) const override {
    const nb::object answer = rows_.attr("contains")(array(ids, n));
    std::ranges::copy(values<bool>(answer, n), out);
  }
  void stamps(const int64_t* ids, size_t n, Stamp* out) const override {
    const nb::object answer = rows_.attr("stamps")(array(ids, n));
    const auto times = values<int64_t>(answer[0], n);
    const auto counts = values<uint32_t>(answer[1], n);
    const auto present = values<bool>(answer[2], n);
    for (size_t i = 0; i < n; ++i) out[i] = {times[i], counts[i], present[i]};
  }
  size_t drop(const int64_t* ids, size_t n) override {
    return nb::cast<size_t>(rows_.attr("drop")(array(ids, n)));
  }
  void restamp(const int64_t* ids, size_t n, int64_t ts_ms) override {
    rows_.attr("restamp")(array(ids, n), ts_ms);
  }

 private:
  static Vector<int64_t> array(const int64_t* ids, size_t n) {
    return into_array<Vector<int64_t>>(std::vector<int64_t>(ids, ids + n), {n});
  }
  template <class T>
  static std::vector<T> values(nb::handle answer, size_t n) {
    const auto array = nb::cast<ArrayIn<T>>(answer);
    if (array.size() != n) throw std::invalid_argument("the rows do not answer for each id");
    return std::vector<T>(array.data(), array.data() + n);
  }

  nb::handle rows_;
};

void begin_batch(Bounds& bounds, nb::handle rows, const Ids& ids, int64_t ts_ms, const BoolsOut& skip) {
  PythonRows python_rows(rows);
  std::vector<bool> skipped(skip.data(), skip.data() + skip.size());
  bounds.begin_batch(python_rows, ids.data(), ids.size(), ts_ms, skipped);
  std::ranges::copy(skipped, skip.data());
}

// `f`, a method of Bounds, as a function that takes rows of Python.
template <auto kMethod>
auto over_rows(Bounds& bounds, nb::handle rows) {
  PythonRows python_rows(rows);
  return (bounds.*kMethod)(python_rows);
}

}  // namespace

StateArrays into_arrays(BoundsState&& state) {
  const size_t numbers = state.numbers.size(), roster = state.roster.size(), filter = state.filter.size();
  return {into_array<Vector<int64_t>>(std::move(state.numbers), {numbers}),
          into_array<Vector<int64_t>>(std::move(state.roster), {roster}),
          into_array<Vector<uint8_t>>(std::move(state.filter), {filter})};
}

BoundsState from_arrays(const Ids& numbers, const Ids& roster, const Bytes& filter) {
  return {{numbers.data(), numbers.data() + numbers.size()},
          {roster.data(), roster.data() + roster.size()},
          {filter.data(), filter.data() + filter.size()}};
}

// For what one class tells of the bounds of a table.
void bind_bounds(nb::module_& m) {
  const auto release = nb::call_guard<nb::gil_scoped_release>();
  nb::enum_<WhenFull>(m, "WhenFull")
      .value("oldest", WhenFull::kOldest)
      .value("least_frequent", WhenFull::kLeastFrequent)
      .value("refuse", WhenFull::kRefuse);
  nb::class_<BoundsConfig>(m, "BoundsConfig")
      .def(
          "__init__",
          [](BoundsConfig* self, uint32_t min_count, int64_t window_ms, size_t tracked_ids,
             double probability, int64_t expire_after_ms, size_t max_rows, WhenFull when_full,
             size_t slice_rows, size_t room_rows, uint64_t seed) {
            new (self) BoundsConfig{min_count, window_ms, tracked_ids, probability, expire_after_ms,
                                    max_rows,  when_full, slice_rows,  room_rows,   seed};
          },
          nb::kw_only(), "min_count"_a, "window_ms"_a, "tracked_ids"_a, "probability"_a, "expire_after_ms"_a,
          "max_rows"_a, "when_full"_a, "slice_rows"_a, "room_rows"_a, "seed"_a);
  nb::class_<BoundsCounts>(m, "BoundsCounts")
      .def_ro("admitted", &BoundsCounts::admitted)
      .def_ro("refused", &BoundsCounts::refused)
      .def_ro("full", &BoundsCounts::full)
      .def_ro("expired", &BoundsCounts::expired)
      .def_ro("evicted", &BoundsCounts::evicted)
      .def_ro("overflows", &BoundsCounts::overflows);
  nb::class_<AdmissionFilter>(m, "AdmissionFilter")
      .def(nb::init<uint32_t, int64_t, size_t, uint64_t>(), "min_count"_a, "window_ms"_a, "tracked_ids"_a,
           "seed"_a)
      .def("advance_to", &AdmissionFilter::advance_to, "now_ms"_a)
      .def(
          "sight",
          [](AdmissionFilter& f, const Ids& ids, const BoolsOut& out) {
            for (size_t i = 0; i < ids.size(); ++i) out.data()[i] = f.sight(ids.data()[i]);
          },
          "ids"_a.noconvert(), "out"_a.noconvert(), release)
      .def(
          "count",
          [](const AdmissionFilter& f, const Ids& ids, const CountsOut& out) {
            for (size_t i = 0; i < ids.size(); ++i) out.data()[i] = f.count(ids.data()[i]);
          },
          "ids"_a.noconvert(), "out"_a.noconvert(), release)
      .def_prop_ro("false_share", &AdmissionFilter::false_share)
      .def_prop_ro("bytes", &AdmissionFilter::bytes)
      .def_prop_ro("overflows", &AdmissionFilter::overflows);
  nb::class_<Bounds>(m, "Bounds")
      .def(nb::init<const BoundsConfig&>(), "config"_a)
      .def("begin_batch", &begin_batch, "rows"_a, "ids"_a.noconvert(), "ts_ms"_a, "skip"_a.noconvert())
      .def("end_batch", &over_rows<&Bounds::end_batch>, "rows"_a)
      .def("start_pass", &Bounds::start_pass)
      .def("sweep", &over_rows<&Bounds::sweep>, "rows"_a)
      .def(
          "enroll",
          [](Bounds& b, nb::handle rows, const Ids& ids) {
            b.enroll(PythonRows(rows), ids.data(), ids.size());
          },
          "rows"_a, "ids"_a.noconvert())
      .def(
          "forget", [](Bounds& b, nb::handle rows, size_t removed) { b.forget(PythonRows(rows), removed); },
          "rows"_a, "removed"_a)
      .def("save", [](const Bounds& b) { return into_arrays(b.save()); })
      .def(
          "restore",
          [](Bounds& b, nb::handle rows, const Ids& numbers, const Ids& roster, const Bytes& filter) {
            return b.restore(PythonRows(rows), from_arrays(numbers, roster, filter));
          },
          "rows"_a, "numbers"_a.noconvert(), "roster"_a.noconvert(), "filter"_a.noconvert())
      .def_prop_ro("now_ms", &Bounds::now_ms)
      .def_prop_ro("counts", &Bounds::counts)
      .def_prop_ro("bytes", &Bounds::bytes);
}

}  // namespace freshet
