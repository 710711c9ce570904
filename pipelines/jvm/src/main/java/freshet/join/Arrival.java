package freshet.join;

/**
 * A record of {@code features} or {@code actions}, as it came.
 *
 * @param key null: none
 * @param value null: none
 * @param loggedTsMs its Kafka timestamp
 */
record Arrival(boolean isAction, byte[] key, byte[] value, int partition, long offset, long loggedTsMs) {

  int keyBytes() {
    return key == null ? 0 : key.length;
  }

  int valueBytes() {
    return value == null ? 0 : value.length;
  }
}
