package freshet.join;

/** An action whose request has not come yet, as its record was; {@code key} null: none. */
record EarlyAction(byte[] key, byte[] value, int partition, long offset, long loggedTsMs) {

  static EarlyAction of(Arrival arrival) {
    return new EarlyAction(arrival.key(), arrival.value(), arrival.partition(), arrival.offset(), arrival.loggedTsMs());
  }

  Arrival arrival() {
    return new Arrival(true, key, value, partition, offset, loggedTsMs);
  }

  int bytes() {
    return (key == null ? 0 : key.length) + value.length;
  }
}
