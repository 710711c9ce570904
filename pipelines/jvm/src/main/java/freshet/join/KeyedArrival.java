package freshet.join;

/**
 * An arrival on its way to the join.
 *
 * @param id of its request; of a record without one, or too long to be looked at, its offset, for it has no business with
 *     others
 * @param eventTimeMs as far as it is believed, known only where it was read; {@link #NO_TIME}: it says nothing of time
 */
record KeyedArrival(String id, Arrival arrival, long eventTimeMs) {
  static final long NO_TIME = Long.MIN_VALUE;
}
