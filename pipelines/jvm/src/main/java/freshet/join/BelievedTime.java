package freshet.join;

import java.io.Serializable;

/**
 * How far the time of an event is believed.
 *
 * <p>An event without {@code ts}, or with one too far before its record, or ahead of it or of the clock, says nothing: the same
 * ones become dead letters. One that is ahead within bounds comes from a fast clock: it is believed no further than events may be out of order, for a watermark that ran ahead of the time of the records
 * would make everybody else late. Heartbeats are believed, since they are there to close windows.
 */
record BelievedTime(long outOfOrderMs, long maxPastMs, long maxFutureMs) implements Serializable {

  /** {@code node}: the {@code ts} of the event. */
  long of(int node, Json json, boolean isHeartbeat, long loggedTsMs, long nowMs) {
    if (json.type(node) != Json.INT) {
      return KeyedArrival.NO_TIME;
    }
    long tsMs = json.bits(node);
    long knownMs = Math.min(loggedTsMs, nowMs);
    if (tsMs < Saturated.add(loggedTsMs, -maxPastMs) || tsMs > Saturated.add(knownMs, maxFutureMs)) {
      return KeyedArrival.NO_TIME;
    }
    return isHeartbeat ? tsMs : Math.min(tsMs, Saturated.add(knownMs, outOfOrderMs));
  }
}
