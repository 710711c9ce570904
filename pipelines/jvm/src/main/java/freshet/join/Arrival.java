package freshet.join;

/**
 * A record of {@code features} or {@code actions}, as it came.
 *
 * @param key null: none; of a line or row of a file, the file's path
 * @param value null: none
 * @param partition of a file: 0
 * @param offset of a file: which line or row, from 1
 * @param loggedTsMs its Kafka timestamp; {@link #NOT_LOGGED}: it has none
 */
record Arrival(boolean isAction, byte[] key, byte[] value, int partition, long offset, long loggedTsMs) {
  static final long NOT_LOGGED = Long.MIN_VALUE;

  int keyBytes() {
    return key == null ? 0 : key.length;
  }

  int valueBytes() {
    return value == null ? 0 : value.length;
  }

  Arrival withoutKey() {
    return new Arrival(isAction, null, value, partition, offset, loggedTsMs);
  }

  Arrival loggedAt(long tsMs) {
    return new Arrival(isAction, key, value, partition, offset, tsMs);
  }
}
