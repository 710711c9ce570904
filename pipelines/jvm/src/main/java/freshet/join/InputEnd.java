package freshet.join;

/**
 * A reader of a bounded input has come to its end.
 *
 * @param reader which of {@code readers}
 * @param latestMs the latest time that it believed; {@link KeyedArrival#NO_TIME}: none
 */
record InputEnd(boolean ofActions, int reader, int readers, long latestMs) {}
