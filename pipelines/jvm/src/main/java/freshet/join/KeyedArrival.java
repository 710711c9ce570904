package freshet.join;

/**
 * An arrival on its way to the join, or the end of an input.
 *
 * @param id of its request; of a record without one, or too long to be looked at, its offset, for it has no business with
 *     others
 * @param arrival null: it is an end
 * @param end null: it is an arrival
 * @param eventTimeMs as far as it is believed, known only where it was read; {@link #NO_TIME}: it says nothing of time
 * @param mostMs event time does not move beyond it: later files begin there
 */
record KeyedArrival(String id, Arrival arrival, InputEnd end, long eventTimeMs, long mostMs) {
  static final long NO_TIME = Long.MIN_VALUE;

  KeyedArrival(String id, Arrival arrival, long eventTimeMs, long mostMs) {
    this(id, arrival, null, eventTimeMs, mostMs);
  }

  static KeyedArrival of(String id, InputEnd end) {
    return new KeyedArrival(id, null, end, NO_TIME, NO_TIME);
  }
}
